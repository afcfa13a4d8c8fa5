"""Replay of recorded files as if the machine were there."""

from millstream.connectors.replay._config import ReplayConfig
from millstream.connectors.replay._connector import ReplayConnector
from millstream.connectors.replay._session import ReplayPosition, ReplaySession

__all__ = ["ReplayConfig", "ReplayConnector", "ReplayPosition", "ReplaySession"]
