"""The public contract of connectors and the ports that the runtime gives them."""

from millstream.kernel import AuthError, ConfigError, DecodeError, ProtocolViolation, Unreachable
from millstream.sdk._config import ConnectorConfig, Duration
from millstream.sdk._contract import (
    Acknowledged,
    Batch,
    Browsable,
    Connector,
    ConnectorInfo,
    ConnectorTools,
    Log,
    NodeInfo,
    Polled,
    Position,
    Session,
    SourceCounted,
    Streamed,
    Tag,
    Writable,
    Write,
    WriteResult,
)
from millstream.sdk._ports import Control, Message, Publisher, PublisherStats, Reader, Received, Stored

__all__ = [
    "Acknowledged", "AuthError", "Batch", "Browsable", "ConfigError", "Connector", "ConnectorConfig", "ConnectorInfo",
    "ConnectorTools", "Control", "DecodeError", "Duration", "Log", "Message", "NodeInfo", "Polled", "Position",
    "ProtocolViolation", "Publisher", "PublisherStats", "Reader", "Received", "Session", "SourceCounted", "Stored",
    "Streamed", "Tag", "Unreachable", "Writable", "Write", "WriteResult",
]
