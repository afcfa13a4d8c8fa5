"""Looks into a folder when told to, as the session would by its clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millstream.connectors.files import FilesConfig, FilesConnector, FilesSession
from millstream.model import Sample
from millstream.sdk import Batch, ConnectorTools, Position, Tag

LOOK_S = 60.0


class LookClock:
    """Sleeps until the test lets it look again; each sleep moves the monotonic time."""

    def __init__(self) -> None:
        self._monotonic_ns = 0
        self.asleep = asyncio.Event()
        self.release = asyncio.Event()

    def now_ns(self) -> int:
        return 1_700_000_000_000_000_000

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    async def sleep(self, delay_s: float) -> None:
        self._monotonic_ns += int(delay_s * 1e9)
        self.asleep.set()
        await self.release.wait()
        self.release.clear()


@dataclass
class Follower:
    """A session under way."""

    session: FilesSession
    batches: Any
    clock: LookClock
    position: Position | None = None
    bad: list[tuple[bytes, str]] = field(default_factory=list)
    _next: asyncio.Task[Batch] | None = None

    async def look(self) -> list[Sample]:
        """What one more look into the folder brings."""
        found: list[Sample] = []
        if self.clock.asleep.is_set():
            self.clock.asleep.clear()
            self.clock.release.set()
        idle = asyncio.ensure_future(self.clock.asleep.wait())
        try:
            async with asyncio.timeout(LOOK_S):
                while not self.clock.asleep.is_set():
                    if self._next is None:
                        self._next = asyncio.ensure_future(anext(self.batches))
                    await asyncio.wait({self._next, idle}, return_when=asyncio.FIRST_COMPLETED)
                    if self._next.done():
                        batch, self._next = self._next.result(), None
                        found += batch.samples
                        self.bad += batch.frames_bad
                        self.position = batch.position if batch.position is not None else self.position
        finally:
            idle.cancel()
        return found

    async def values(self) -> list[object]:
        """The values of one more look."""
        return [sample.value for sample in await self.look()]

    async def stop(self) -> None:
        """As a session that is closed."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)


@asynccontextmanager
async def following(
    folder: Path, tags: Sequence[Tag] = (Tag("v", "v"),), resume: Position | None = None, **config: Any
) -> AsyncIterator[Follower]:
    """A session with `folder`; the first `look` is the first one into it."""
    clock = LookClock()
    model = FilesConfig.model_validate({"folder": str(folder), **config})
    connector = FilesConnector(model, ConnectorTools(clock=clock))
    async with connector.open() as session, aclosing(session.stream(tags, resume)) as batches:
        follower = Follower(session, batches, clock)
        try:
            yield follower
        finally:
            await follower.stop()
