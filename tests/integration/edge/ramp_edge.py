"""An edge with a ramp that can rewind, as a process: ``python ramp_edge.py EDGE.yaml``."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from millstream.config import load_edge
from millstream.edge import EdgeNode
from millstream.model import Sample
from millstream.sdk import Batch, ConnectorConfig, ConnectorInfo, ConnectorTools, Duration, Position, Tag


class RampConfig(ConnectorConfig):
    rows: int = 1000
    batch_rows: int = 5
    pause: Duration = 0.001


class RampSession:
    def __init__(self, config: RampConfig) -> None:
        self._config = config

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        row = int(resume) if resume is not None else 0
        while row < self._config.rows:
            end = min(row + self._config.batch_rows, self._config.rows)
            samples = [Sample(tag.key, r, source_time_ns=r) for r in range(row, end) for tag in tags]
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


CATALOG = {"ramp": RampConnector}


async def main() -> None:
    config, findings = load_edge(Path(sys.argv[1]), CATALOG)  # type: ignore[arg-type]
    assert config is not None, findings
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await EdgeNode(config, connectors=CATALOG).run(stop)  # type: ignore[arg-type]


if __name__ == "__main__":
    asyncio.run(main())
