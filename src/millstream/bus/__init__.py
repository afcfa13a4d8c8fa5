"""The data plane on JetStream, behind the ports of ``millstream.sdk``, with an in-memory twin."""

from millstream.bus._client import add_micro_service, api_request, connect_nats, get_last, request_nats
from millstream.bus._connection import Credentials, RawConnection
from millstream.bus._fast_ingest import FastIngestPublisher
from millstream.bus._group_commit import GroupCommitPublisher
from millstream.bus._jetstream import Refused, StreamApi, StreamState
from millstream.bus._memory import MemoryPublisher, MemoryReader, MemoryStream
from millstream.bus._nats_py import NatsPyConnection
from millstream.bus._reader import StreamReader
from millstream.bus._transport import Transport

__all__ = [
    "Credentials",
    "FastIngestPublisher",
    "GroupCommitPublisher",
    "MemoryPublisher",
    "MemoryReader",
    "MemoryStream",
    "NatsPyConnection",
    "RawConnection",
    "Refused",
    "StreamApi",
    "StreamReader",
    "StreamState",
    "Transport",
    "add_micro_service",
    "api_request",
    "connect_nats",
    "get_last",
    "request_nats",
]
