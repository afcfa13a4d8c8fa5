"""A connector that counts rows and can rewind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from pydantic import Field

from millstream.model import Sample
from millstream.sdk import Batch, ConnectorConfig, ConnectorInfo, ConnectorTools, Duration, Position, Tag


class RampConfig(ConnectorConfig):
    rows: int = 1000
    batch_rows: int = 5
    pause: Duration = 0.001
    odd: dict[str, int] = Field(default_factory=dict)
    """Row -> what stands there instead."""


class RampSession:
    def __init__(self, config: RampConfig) -> None:
        self._config = config

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        odd = self._config.odd
        row = int(resume) if resume is not None else 0
        while row < self._config.rows:
            end = min(row + self._config.batch_rows, self._config.rows)
            samples = [
                Sample(tag.key, odd.get(str(r), r), source_time_ns=(r + 1) * 1_000_000)
                for r in range(row, end)
                for tag in tags
            ]
            row = end
            yield Batch(samples, position=Position(str(row).encode()))
            await asyncio.sleep(self._config.pause)

    async def ack(self, up_to: Position) -> None:
        """Nothing to release."""


class RampConnector:
    info: ClassVar[ConnectorInfo] = ConnectorInfo("ramp", "numbers", "none")
    Config: ClassVar[type[ConnectorConfig]] = RampConfig

    def __init__(self, config: RampConfig, tools: ConnectorTools) -> None:
        self._config = config

    def check_tag(self, tag: Tag) -> None:
        """Every address is right."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RampSession]:
        yield RampSession(self._config)


CATALOG: Any = {"ramp": RampConnector}
