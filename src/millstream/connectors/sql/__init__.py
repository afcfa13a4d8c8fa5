"""Rows of a database, polled by a key that only grows; and rows put there, for who confirms to one."""

from millstream.connectors.sql._config import SqlConfig, SqlTagOptions
from millstream.connectors.sql._connector import SqlConnector
from millstream.connectors.sql._link import Ask, Link, Put, Turn

__all__ = ["Ask", "Link", "Put", "SqlConfig", "SqlConnector", "SqlTagOptions", "Turn"]
