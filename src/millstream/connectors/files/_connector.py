"""The files connector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from millstream.connectors.files._config import FilesConfig, FilesTagOptions
from millstream.connectors.files._session import FilesSession
from millstream.connectors.files._table import list_files
from millstream.connectors.files._text import steps_of
from millstream.kernel import ConfigError
from millstream.sdk import ConnectorConfig, ConnectorInfo, ConnectorTools, Tag, checked_address, checked_options


class FilesConnector:
    """Follows the files of a folder: CSV, JSON lines and Parquet."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="files",
        summary="a folder of CSV, JSON lines and Parquet files, followed through growth, rotation and truncation",
        spec="CSV (RFC 4180, one record a line), JSON lines, Apache Parquet 2",
        maturity="gold",
    )
    Config: ClassVar[type[ConnectorConfig]] = FilesConfig
    TagOptions: ClassVar[type[FilesTagOptions]] = FilesTagOptions

    def __init__(self, config: FilesConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools

    def check_tag(self, tag: Tag) -> None:
        """An address is a column's name (long layout: the tag's name in the file). Raises ConfigError."""
        if not tag.address.strip():
            raise ConfigError(f"tag {tag.key!r} has no address", expected="the name of a column", code="MS-1800")
        for name in (tag.address, *self._config.time_columns):
            self._check_path(tag, name)
        checked_options(tag, FilesTagOptions, "MS-1800")

    def _check_path(self, tag: Tag, name: str) -> None:
        if self._config.format != "jsonl" or self._config.tag_column is not None:
            return
        with checked_address(tag, "MS-1800"):
            steps_of(name)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FilesSession]:
        """Look into the folder. Raises Unreachable when it cannot be read. Each read opens and closes its file, but the
        one that is packed."""
        await asyncio.to_thread(list_files, self._config)
        session = FilesSession(self._config, self._tools)
        try:
            yield session
        finally:
            session.opener.close()
