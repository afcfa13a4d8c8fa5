"""The SQL connector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import ClassVar

from millstream.connectors.sql._config import SqlConfig, SqlTagOptions
from millstream.connectors.sql._link import Link, Turn
from millstream.connectors.sql._session import SqlSession
from millstream.kernel import ConfigError
from millstream.sdk import ConnectorConfig, ConnectorInfo, ConnectorTools, Tag, checked_options


class SqlConnector:
    """Polls a table, a view or a query by a key that only grows."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="sql",
        summary="rows of a table or query by a growing key, each once, late ones too",
        spec="SQL by SQLAlchemy 2: PostgreSQL, MySQL, SQL Server, Oracle, SQLite and others",
        maturity="gold",
    )
    Config: ClassVar[type[ConnectorConfig]] = SqlConfig
    TagOptions: ClassVar[type[SqlTagOptions]] = SqlTagOptions

    def __init__(self, config: SqlConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools
        self._turn = Turn()

    def check_tag(self, tag: Tag) -> None:
        """An address is a column's name (long layout: the tag's name in the table). Raises ConfigError."""
        if not tag.address.strip():
            raise ConfigError(f"tag {tag.key!r} has no address", expected="the name of a column", code="MS-0105")
        checked_options(tag, SqlTagOptions)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SqlSession]:
        """Connect and look which columns there are. Raises Unreachable, AuthError, ConfigError."""
        if find_spec("sqlalchemy") is None:
            raise ConfigError(
                "the SQL connector needs SQLAlchemy", next_step="pip install 'millstream[sql]'", code="MS-0106"
            )
        secret = self._config.secret
        password = await asyncio.to_thread(secret.resolve) if secret is not None else None
        link = Link(self._config, self._turn)
        try:
            await link.open(password)
            yield SqlSession(link, await link.columns(), self._config, self._tools)
        finally:
            await link.close()
