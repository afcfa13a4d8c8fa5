"""The data plane on JetStream, behind the ports of ``millstream.sdk``, with an in-memory twin."""

from millstream.bus._connection import Credentials, RawConnection
from millstream.bus._group_commit import GroupCommitPublisher
from millstream.bus._jetstream import Refused, StreamApi, StreamState
from millstream.bus._memory import MemoryPublisher, MemoryReader, MemoryStream
from millstream.bus._reader import StreamReader

__all__ = [
    "Credentials",
    "GroupCommitPublisher",
    "MemoryPublisher",
    "MemoryReader",
    "MemoryStream",
    "RawConnection",
    "Refused",
    "StreamApi",
    "StreamReader",
    "StreamState",
]
