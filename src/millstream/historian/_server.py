"""What histories on a server of any make share: their errors, their connections, and an upkeep by rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Generic, Protocol, TypeVar

from millstream.historian._keep import NEVER, KeepBook, TagsByKeep
from millstream.historian._store import DAY_NS, HistoryStoreError
from millstream.historian._tags import TagDictionary
from millstream.historian._upkeep import OnWriter, TagDay
from millstream.kernel import Clock
from millstream.sdk import Log

LINKS_KEPT_MAX = 2  # idle ones, for questions
MINUTE_S, HOUR_S = 60, 3600
ROLLED_UNTIL = "rolled_until_ns"
"""Among the counters: days that end here or before may have rollups in the place of samples."""


class HistoryServerError(HistoryStoreError):
    """The server does not answer, or the connection to it broke; nothing of the call is known to be stored."""

    default_code = "MS-0423"


class HistoryLoginError(HistoryStoreError):
    """The server answers and does not let us in."""

    default_code = "MS-0424"


class Link(Protocol):
    """One connection."""

    is_broken: bool

    def close(self) -> None:
        """Close it."""
        ...


L = TypeVar("L", bound=Link)


class Links(Generic[L]):
    """A store's connections: the writer's, and idle ones for questions. `make` connects for a question; `answers` says
    of an idle one whether it still does."""

    def __init__(self, make: Callable[[], L], answers: Callable[[L], bool] = lambda _: True) -> None:
        self.writer: L | None = None
        self.is_closed = True
        self._make, self._answers = make, answers
        self._idle: list[L] = []

    @contextmanager
    def opening(self, make: Callable[[], L]) -> Iterator[L]:
        """The writer's, once all that the block does with it is done. A store that could not open is not closed: the
        next commit tries again."""
        self.is_closed = False
        link = make()
        try:
            yield link
        except BaseException:
            link.close()
            raise
        self.writer = link

    def close(self) -> None:
        """All of them."""
        self.is_closed = True
        links = [*self._idle, *([self.writer] if self.writer is not None else [])]
        self._idle, self.writer = [], None
        for link in links:
            link.close()

    @contextmanager
    def reading(self) -> Iterator[L]:
        """One for one question. Raises HistoryStoreError."""
        link = self._idle_one() or self._make()
        try:
            yield link
        except BaseException:
            link.close()  # it may be in the middle of something
            raise
        if self.is_closed or link.is_broken or len(self._idle) >= LINKS_KEPT_MAX:
            link.close()
        else:
            self._idle.append(link)

    def _idle_one(self) -> L | None:
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return None
            if self._answers(link):
                return link
            link.close()


class DropsRows(Protocol):
    """A store, as far as retention goes."""

    @property
    def next_order(self) -> int:
        """The place of arrival of the next row."""
        ...

    def days_over(self, tag_ids: Sequence[int], before_day: int) -> list[int]:
        """Days before one on which these tags have samples that are not rolled up, ascending."""
        ...

    def lapse(self, day: int, tag_ids: Sequence[int], levels_s: Sequence[int]) -> int:
        """Rollups of these levels take the place of the tags' samples of a day, for questions at once. Of a tag that
        has rollups of it already they stay, and samples that came since are dropped; how many those are."""
        ...

    def late(self, tag_ids: Sequence[int], before_ns: int, upto: int) -> int:
        """Count what came late where `lapse` does not: samples of these tags before a time, of places of arrival below
        `upto`, of days that were rolled up before. Each is told once."""
        ...

    def drop(self, tag_ids: Sequence[int], before_ns: int, *, upto: int | None = None) -> int:
        """Drop the samples of these tags before a time, of places of arrival below `upto`; how many."""
        ...

    def drop_rollups(self, level_s: int, tag_ids: Sequence[int], before_ns: int) -> None:
        """Drop those of a level before a time."""
        ...

    def closed(self, pairs: Sequence[TagDay]) -> set[TagDay]:
        """Of tags and days those that have rollups."""
        ...

    def drop_events(self, before_ns: int) -> None:
        """Drop all events before a time."""
        ...

    def bytes_on_disk(self) -> int:
        """As the server says."""
        ...


class ServerUpkeep:
    """Retention by rows. Days are not sealed here; rollups are made when samples go, and take their place."""

    def __init__(
        self, store: DropsRows, book: KeepBook, *, on_writer: OnWriter, clock: Clock, log: Log | None = None
    ) -> None:  # fmt: skip
        self._store = store
        self._book = book
        self._on_writer = on_writer
        self._clock = clock
        self._log = log

    async def begin(self) -> None:
        """Nothing was left half done."""

    def close(self) -> None:
        """Nothing runs beside."""

    async def maintain(self, tags: TagDictionary) -> None:
        """Roll up and drop what is too old. Raises HistoryStoreError."""
        now_ns, store = self._clock.now_ns(), self._store
        by_keep = self._book.by_keep(tags.find("*", None))
        late, upto = 0, await self._on_writer(lambda: store.next_order)
        for keep, tag_ids in by_keep.items():
            ends = keep.ends(now_ns)
            if ends.samples > NEVER:
                for day in await self._on_writer(partial(store.days_over, tag_ids, ends.samples)):
                    levels = [s for s, end in ((MINUTE_S, ends.minutes), (HOUR_S, ends.hours)) if day >= end]
                    late += await self._on_writer(partial(store.lapse, day, tag_ids, levels))
                late += await self._on_writer(partial(store.late, tag_ids, ends.samples * DAY_NS, upto))
        if late and self._log is not None:
            self._log.warning("history drops late samples of days that are rolled up", samples=late)
        await self._drop(by_keep, now_ns, upto)

    async def _drop(self, tags: TagsByKeep, now_ns: int, upto: int) -> None:
        """What is over. All that arrived below `upto` and is to be rolled up is; the rest waits for the next time."""
        store = self._store
        for keep, tag_ids in tags.items():
            ends = keep.ends(now_ns)
            if ends.samples > NEVER:
                await self._on_writer(partial(store.drop, tag_ids, ends.samples * DAY_NS, upto=upto))
            for level_s, end in ((MINUTE_S, ends.minutes), (HOUR_S, ends.hours)):
                if end > NEVER:
                    await self._on_writer(partial(store.drop_rollups, level_s, tag_ids, end * DAY_NS))
        end = self._book.default.ends(now_ns).samples
        if end > NEVER:
            await self._on_writer(partial(store.drop_events, end * DAY_NS))

    async def seal(self, day: int) -> bool:
        """Never: rows stay where they are."""
        return False

    async def sealed_days(self) -> list[int]:
        """None."""
        return []

    async def roll_up_again(self, day: int) -> bool:
        """Nothing to do: of a day there are either samples or rollups."""
        return False

    async def closed(self, pairs: Sequence[TagDay]) -> set[TagDay]:
        """As `Upkeep.closed`."""
        return await self._on_writer(partial(self._store.closed, pairs))  # type: ignore[no-any-return]

    def sealed_count(self) -> int:
        """None."""
        return 0

    def bytes_on_disk(self) -> int:
        """As the server says."""
        return self._store.bytes_on_disk()
