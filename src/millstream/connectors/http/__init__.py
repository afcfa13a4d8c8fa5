"""HTTP: values polled from a server, or posted by one to the edge (webhook)."""

from millstream.connectors.http._config import HttpConfig, HttpTagOptions
from millstream.connectors.http._connector import HttpConnector

__all__ = ["HttpConfig", "HttpConnector", "HttpTagOptions"]
