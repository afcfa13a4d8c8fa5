"""What histories on a server of any make share: their errors, and an upkeep by rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from millstream.historian._keep import NEVER, KeepBook
from millstream.historian._store import DAY_NS, HistoryStoreError
from millstream.historian._tags import TagDictionary
from millstream.historian._upkeep import OnWriter
from millstream.kernel import Clock


class HistoryServerError(HistoryStoreError):
    """The server does not answer, or the connection to it broke; nothing of the call is known to be stored."""

    default_code = "MS-0423"


class HistoryLoginError(HistoryStoreError):
    """The server answers and does not let us in."""

    default_code = "MS-0424"


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
