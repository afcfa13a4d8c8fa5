"""The data plane on JetStream, behind the ports of ``millstream.sdk``, with an in-memory twin."""

from millstream.bus._connection import Credentials, RawConnection
from millstream.bus._group_commit import GroupCommitPublisher
from millstream.bus._jetstream import Refused, StreamApi, StreamState
from millstream.bus._memory import MemoryPublisher, MemoryReader, MemoryStream
from millstream.bus._reader import StreamReader
from millstream.bus._server import NatsServer, ServerAlarm
from millstream.bus._server_config import LeafListener, LeafRemote, LeafUser, MqttUser, ServerSettings

__all__ = [
    "LeafListener",
    "LeafRemote",
    "LeafUser",
    "MqttUser",
    "NatsServer",
    "ServerAlarm",
    "ServerSettings",
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
