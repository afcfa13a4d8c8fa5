"""IO-Link masters over their JSON interface."""

from millstream.connectors.iolink._config import IoLinkConfig, IoLinkTagOptions
from millstream.connectors.iolink._connector import IoLinkConnector

__all__ = ["IoLinkConfig", "IoLinkConnector", "IoLinkTagOptions"]
