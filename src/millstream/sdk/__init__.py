"""The public contract of connectors and the ports that the runtime gives them."""

from millstream.kernel import AuthError, ConfigError, DecodeError, ProtocolViolation, Unreachable, needs_extra
from millstream.sdk._command import CommandContext, CommandType, Progress
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
    TagFacts,
    Writable,
    Write,
    WriteResult,
)
from millstream.sdk._discovery import Discoverable, Discovered, DiscoveryInfo, DiscoveryTools, Place
from millstream.sdk._ports import Control, Message, Publisher, PublisherStats, Reader, Received, Stored
from millstream.sdk._rows import RowConfig
from millstream.sdk._secret import ConfigPath, OutsideError, SecretRef
from millstream.sdk._strict import Strict
from millstream.sdk._tag_checks import checked_address, checked_options, refuse_options
from millstream.sdk._tls import TlsFiles, client_context, tls_fault
from millstream.sdk._writing import given_value, write_in_turn

__all__ = [
    "Strict",
    "CommandContext",
    "CommandType",
    "Progress",
    "Acknowledged",
    "AuthError",
    "Batch",
    "Browsable",
    "ConfigError",
    "ConfigPath",
    "Connector",
    "ConnectorConfig",
    "ConnectorInfo",
    "ConnectorTools",
    "Control",
    "DecodeError",
    "Discoverable",
    "Discovered",
    "DiscoveryInfo",
    "DiscoveryTools",
    "Duration",
    "Log",
    "Message",
    "NodeInfo",
    "OutsideError",
    "Place",
    "Polled",
    "Position",
    "ProtocolViolation",
    "Publisher",
    "PublisherStats",
    "Reader",
    "Received",
    "RowConfig",
    "SecretRef",
    "Session",
    "SourceCounted",
    "Stored",
    "Streamed",
    "Tag",
    "TagFacts",
    "TlsFiles",
    "Unreachable",
    "Writable",
    "Write",
    "WriteResult",
    "checked_address",
    "checked_options",
    "client_context",
    "needs_extra",
    "refuse_options",
    "tls_fault",
    "given_value",
    "write_in_turn",
]
