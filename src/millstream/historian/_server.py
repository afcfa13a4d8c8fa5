"""What histories on a server of any make share: their errors, their connections, and an upkeep by rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from millstream.historian._keep import NEVER, KeepBook
from millstream.historian._store import DAY_NS, HistoryStoreError
from millstream.historian._tags import TagDictionary
from millstream.historian._upkeep import OnWriter
from millstream.kernel import Clock

LINKS_KEPT_MAX = 2  # idle ones, for questions


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

    def drop(self, tag_ids: Sequence[int], before_ns: int) -> int:
        """Drop the samples of these tags before a time; how many."""
        ...

    def drop_events(self, before_ns: int) -> None:
        """Drop all events before a time."""
        ...

    def bytes_on_disk(self) -> int:
        """As the server says."""
        ...


class ServerUpkeep:
    """Retention by rows. Days are not sealed here, and there are no rollups: windows are worked out from samples."""

    def __init__(self, store: DropsRows, book: KeepBook, *, on_writer: OnWriter, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._on_writer = on_writer
        self._clock = clock

    async def begin(self) -> None:
        """Nothing was left half done."""

    def close(self) -> None:
        """Nothing runs beside."""

    async def maintain(self, tags: TagDictionary) -> None:
        """Drop what is too old. Raises HistoryStoreError."""
        now_ns = self._clock.now_ns()
        for keep, tag_ids in self._book.by_keep(tags.find("*", None)).items():
            end = keep.ends(now_ns).samples
            if end > NEVER:
                await self._on_writer(lambda ids=tag_ids, day=end: self._store.drop(ids, day * DAY_NS))  # type: ignore[misc]
        end = self._book.default.ends(now_ns).samples
        if end > NEVER:
            await self._on_writer(lambda: self._store.drop_events(end * DAY_NS))

    async def seal(self, day: int) -> bool:
        """Never: rows stay where they are."""
        return False

    async def sealed_days(self) -> list[int]:
        """None."""
        return []

    async def roll_up_again(self, day: int) -> bool:
        """There are no rollups."""
        return False

    def sealed_count(self) -> int:
        """None."""
        return 0

    def bytes_on_disk(self) -> int:
        """As the server says."""
        return self._store.bytes_on_disk()
