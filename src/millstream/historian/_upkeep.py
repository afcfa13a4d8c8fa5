"""Upkeep of a history in DuckDB and Parquet: seals what is old enough, drops what is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from millstream.historian._bound import DiskBound
from millstream.historian._engine import QueryEngine
from millstream.historian._keep import KeepBook, TagsByKeep
from millstream.historian._lapse import Lapser
from millstream.historian._seal import Sealer
from millstream.historian._store import DAY_NS, HistoryStore
from millstream.historian._tags import TagDictionary
from millstream.kernel import Clock
from millstream.sdk import Log

TagDay = tuple[int, int]
"""A tag's number, and a day since 1970."""
OnWriter = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a call on the one thread that writes."""


class Upkeep(Protocol):
    """What is done to a history beside ingest."""

    async def begin(self) -> None:
        """Once, before anything else: clean up after a crash."""
        ...

    def close(self) -> None:
        """End what runs beside."""
        ...

    async def maintain(self, tags: TagDictionary) -> None:
        """Every few minutes. Raises HistoryStoreError."""
        ...

    async def seal(self, day: int) -> bool:
        """Seal one day (since 1970) now; False when there is nothing to seal."""
        ...

    async def sealed_days(self) -> list[int]:
        """Those with samples, since 1970."""
        ...

    async def roll_up_again(self, day: int) -> bool:
        """Work the rollup of a sealed day out anew; False when it has none."""
        ...

    async def closed(self, pairs: Sequence[TagDay]) -> set[TagDay]:
        """Those of which only the rollup is left: what comes for them is dropped again, the rollup stays."""
        ...

    def sealed_count(self) -> int:
        """How many days are sealed; on the writer's thread."""
        ...

    def bytes_on_disk(self) -> int:
        """What the history takes; on the writer's thread."""
        ...


class DayUpkeep:
    """Files are written on a thread of their own, beside ingest; named on the writer's."""

    def __init__(
        self, store: HistoryStore, engine: QueryEngine, book: KeepBook, *, on_writer: OnWriter, clock: Clock, log: Log,
        hot_window_s: float, bytes_max: int | None,
    ) -> None:  # fmt: skip
        self._store = store
        self._sealer = Sealer(store)
        self._lapser = Lapser(store, self._sealer)
        self._engine = engine
        self._book = book
        self._on_writer = on_writer
        self._clock = clock
        self._log = log
        self._hot_window_s = hot_window_s
        self._bytes_max = bytes_max
        self._sealing = ThreadPoolExecutor(1, "historian-seal")

    async def begin(self) -> None:
        """Remove the files that no day names."""
        await self._on_writer(self._sealer.clean)

    def close(self) -> None:
        """Wait for the file that is being written."""
        self._sealing.shutdown(wait=True, cancel_futures=True)

    async def maintain(self, tags: TagDictionary) -> None:
        """Seal what is old enough, again where late data came, and drop what is too old."""
        book, now_ns = self._book, self._clock.now_ns()
        by_keep = book.by_keep(tags.find("*", None))
        for day in await self._on_writer(self._store.hot_days):
            if (day + 1) * DAY_NS + self._hot_window_s * 1e9 > now_ns:
                continue
            late = await self._on_writer(partial(self._lapser.drop_late, day, book.gone(day, by_keep, now_ns)))
            if late:
                self._log.warning("history drops late samples of a day whose samples are over", day=day, samples=late)
            await self.seal(day)
        await self._lapse(by_keep, now_ns)
        await self._keep_bound()
        removable = self._engine.removable()
        await self._on_writer(lambda: self._sealer.remove(removable))
        await self._on_writer(self._store.save_last)

    async def _lapse(self, tags: TagsByKeep, now_ns: int) -> None:
        """Drop what is over by retention: whole days as files, else a day is written anew without it."""
        book = self._book
        await self._on_writer(partial(self._lapser.drop_events, book.default.ends(now_ns).samples))
        for segment in await self._on_writer(self._sealer.segments):
            write = partial(self._lapser.write, segment.day, book.gone(segment.day, tags, now_ns))
            lapsed = await asyncio.get_running_loop().run_in_executor(self._sealing, write)
            if lapsed is not None:
                self._engine.doom(await self._on_writer(partial(self._lapser.name, lapsed)))

    async def _keep_bound(self) -> None:
        """Stay below `bytes_max`: samples leave the database for sealed files early, the oldest files go."""
        if self._bytes_max is None:
            return
        today = self._clock.now_ns() // DAY_NS
        bound = DiskBound(self._store, self._bytes_max)
        for day in await self._on_writer(bound.days_to_seal):
            await self.seal(day)
        dropped = await self._on_writer(lambda: bound.drop(today))
        self._engine.doom(dropped)
        if dropped:
            self._log.warning("history drops its oldest", bytes_max=self._bytes_max, files=len(dropped))

    async def seal(self, day: int) -> bool:
        """Seal one day (since 1970) now; False when it has no hot rows. The file is written beside ingest."""
        upto = await self._on_writer(lambda: self._store.next_order)
        sealed = await asyncio.get_running_loop().run_in_executor(self._sealing, self._sealer.write, day, upto)
        if sealed is None:
            return False
        self._engine.doom(await self._on_writer(lambda: self._sealer.name(sealed)))
        return True

    async def sealed_days(self) -> list[int]:
        """Those with samples, since 1970."""
        return [segment.day for segment in await self._on_writer(self._sealer.segments) if segment.file is not None]

    async def roll_up_again(self, day: int) -> bool:
        """Work the rollup of a sealed day out anew; False when it has no samples. Raises HistoryStoreError."""
        made = await asyncio.get_running_loop().run_in_executor(self._sealing, self._lapser.roll_up_again, day)
        if made is not None:
            self._engine.doom(await self._on_writer(partial(self._lapser.name, made)))
        return made is not None

    async def closed(self, pairs: Sequence[TagDay]) -> set[TagDay]:
        """As `Upkeep.closed`."""
        return await self._on_writer(partial(self._lapser.closed, pairs))  # type: ignore[no-any-return]

    def sealed_count(self) -> int:
        """How many days are sealed."""
        return len(self._sealer.segments())

    def bytes_on_disk(self) -> int:
        """Database and files."""
        return self._sealer.bytes_on_disk()
