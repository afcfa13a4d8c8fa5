"""The data plane on JetStream, behind the ports of ``millstream.sdk``, with an in-memory twin."""

from millstream.bus._client import add_micro_service, api_request, connect_nats, get_last, request_nats
from millstream.bus._connection import Credentials, RawConnection
from millstream.bus._fast_ingest import FastIngestPublisher
from millstream.bus._group_commit import GroupCommitPublisher
from millstream.bus._jetstream import Refused, StreamApi, StreamState, decode_answer
from millstream.bus._memory import MemoryPublisher, MemoryReader, MemoryStream
from millstream.bus._nats_py import NatsPyConnection
from millstream.bus._node_file import NodeFile, ProcessMeter
from millstream.bus._node_service import node_service
from millstream.bus._patience import START_PATIENCE_S
from millstream.bus._reader import StreamReader
from millstream.bus._server import NatsServer, ServerAlarm
from millstream.bus._server_config import HUB_DOMAIN, LeafListener, LeafRemote, LeafUser, MqttUser, ServerSettings
from millstream.bus._server_files import disk_error, load_secret, store_room_bytes, write_private
from millstream.bus._store_repair import sync_descriptions
from millstream.bus._streams import (
    FAST_PREFIX,
    FLOW_PREFIX,
    HUB_DLQ,
    HUB_FLOW,
    HUB_INTEGRITY,
    HUB_LOCAL,
    HUB_THROUGHPUT,
    LIVE,
    NAMESPACE,
    SourceInfo,
    StreamBounds,
    StreamInfo,
    StreamName,
    cursors_subject,
    deadletter_stream,
    delete_stream,
    edge_source,
    ensure_stream,
    find_stream,
    fit_bounds,
    flow_stream,
    hub_stream,
    integrity_stream,
    is_retired,
    list_streams,
    local_stream,
    mqtt_stream,
    purge_below,
    retired_stream,
    throughput_stream,
)
from millstream.bus._transport import Transport

__all__ = [
    "Credentials",
    "FAST_PREFIX",
    "FLOW_PREFIX",
    "FastIngestPublisher",
    "GroupCommitPublisher",
    "HUB_DLQ",
    "HUB_DOMAIN",
    "HUB_FLOW",
    "HUB_INTEGRITY",
    "HUB_LOCAL",
    "HUB_THROUGHPUT",
    "LIVE",
    "LeafListener",
    "LeafRemote",
    "LeafUser",
    "MemoryPublisher",
    "MemoryReader",
    "MemoryStream",
    "MqttUser",
    "NAMESPACE",
    "NatsPyConnection",
    "NatsServer",
    "NodeFile",
    "ProcessMeter",
    "RawConnection",
    "Refused",
    "START_PATIENCE_S",
    "ServerAlarm",
    "ServerSettings",
    "SourceInfo",
    "StreamApi",
    "StreamBounds",
    "StreamInfo",
    "StreamName",
    "StreamReader",
    "StreamState",
    "Transport",
    "add_micro_service",
    "api_request",
    "connect_nats",
    "cursors_subject",
    "deadletter_stream",
    "decode_answer",
    "delete_stream",
    "disk_error",
    "edge_source",
    "ensure_stream",
    "find_stream",
    "fit_bounds",
    "flow_stream",
    "get_last",
    "hub_stream",
    "integrity_stream",
    "is_retired",
    "list_streams",
    "load_secret",
    "local_stream",
    "mqtt_stream",
    "node_service",
    "purge_below",
    "request_nats",
    "retired_stream",
    "store_room_bytes",
    "sync_descriptions",
    "throughput_stream",
    "write_private",
]
