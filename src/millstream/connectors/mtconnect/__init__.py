"""MTConnect: adapters by SHDR, agents by HTTP."""

from millstream.connectors.mtconnect._agent_session import AgentPosition, AgentSession
from millstream.connectors.mtconnect._config import MTConnectConfig, MTConnectTagOptions
from millstream.connectors.mtconnect._connector import MTConnectConnector
from millstream.connectors.mtconnect._shdr_session import ShdrSession

__all__ = [
    "AgentPosition",
    "AgentSession",
    "MTConnectConfig",
    "MTConnectConnector",
    "MTConnectTagOptions",
    "ShdrSession",
]
