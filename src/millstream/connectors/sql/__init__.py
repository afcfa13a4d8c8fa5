"""Rows of a database, polled by a key that only grows."""

from millstream.connectors.sql._config import SqlConfig, SqlTagOptions
from millstream.connectors.sql._connector import SqlConnector

__all__ = ["SqlConfig", "SqlConnector", "SqlTagOptions"]
