"""The replay connector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from millstream.connectors.replay._config import ReplayConfig
from millstream.connectors.replay._recording import Recording, read_recording
from millstream.connectors.replay._session import ReplaySession
from millstream.kernel import ConfigError, DecodeError
from millstream.sdk import ConnectorConfig, ConnectorInfo, ConnectorTools, Tag, refuse_options


class ReplayConnector:
    """Replays a recorded file at true or scaled speed: SHDR text, CSV, JSON lines or waveform arrays."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="replay",
        summary="recorded files at true or scaled speed, resumed at the exact row",
        spec="SHDR text, CSV (RFC 4180, one record a line), JSON lines, NumPy .npz and .npy",
        maturity="silver",
    )
    Config: ClassVar[type[ConnectorConfig]] = ReplayConfig

    def __init__(self, config: ReplayConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools
        self._seen: tuple[tuple[int, int], Recording] | None = None

    def check_tag(self, tag: Tag) -> None:
        """An address is a data item, column, tag or channel of the file; whether it is there shows when it is read."""
        if not tag.address.strip():
            raise ConfigError(f"tag {tag.key!r} has no address", expected="a name in the file", code="MS-0105")
        refuse_options(tag)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ReplaySession]:
        """Look through the file, unless it is known and unchanged. Raises ConfigError when it cannot be read."""
        yield ReplaySession(self._config, await self._recording(), self._tools)

    async def _recording(self) -> Recording:
        try:
            status = await asyncio.to_thread(self._config.file.stat)
        except OSError as error:
            raise ConfigError(
                f"recording cannot be read: {error.strerror}",
                where=str(self._config.file),
                next_step="correct 'file'",
                code="MS-0104",
            ) from error
        mark = (status.st_mtime_ns, status.st_size)
        if self._seen is None or self._seen[0] != mark:
            try:
                self._seen = (mark, await asyncio.to_thread(read_recording, self._config))
            except DecodeError as error:
                raise ConfigError(error.what, where=str(self._config.file), code="MS-0104") from error
        return self._seen[1]
