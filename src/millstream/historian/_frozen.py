"""What a whole history is made of beside its rows, and a history that stands still to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from millstream.historian._columns import TIME_MAX_NS, TIME_MIN_NS
from millstream.historian._last import LastRow
from millstream.historian._ports import DeadLetter
from millstream.historian._store import DAY_NS, Position
from millstream.historian._tags import TagEntry

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 100_000
ROLLED = "level_s, tag_id, start_ns, rows, numbers, low, high, total, opening, closing, first_ns, last_ns"
"""The columns of rollups, of any engine."""


@dataclass(frozen=True, slots=True)
class Beside:
    """All but samples and events. `gaps` are rows of stream, generation, first and last sequence and when that was
    noticed; `ledger` rows of stream, origin and state; `last` is left empty where samples tell it."""

    tags: Sequence[TagEntry]
    positions: Sequence[Position]
    gaps: Sequence[tuple[str, int, int, int, int]]
    ledger: Sequence[tuple[str, str, bytes]]
    counters: Mapping[str, int]
    letters: Sequence[DeadLetter]
    last: Sequence[LastRow] = ()


class Frozen(Protocol):
    """A history on a server, of one moment, while it goes on; for one thread. Every method raises HistoryStoreError.

    Samples have the columns tag_id, time_ns, n, kind, value, whole, text, quality; events those of their table.
    """

    @property
    def beside(self) -> Beside:
        """What stands beside the rows."""
        ...

    @property
    def order(self) -> int:
        """The place of arrival that all rows lie below."""
        ...

    @property
    def events_count(self) -> int:
        """How many events there are."""
        ...

    def days(self) -> list[tuple[int, int]]:
        """Days (since 1970) with samples, and how many."""
        ...

    def samples(self, day: int) -> Iterator[pa.Table]:
        """Those of a day."""
        ...

    def rolled_days(self) -> list[tuple[int, int]]:
        """Days with rollups in the place of samples, and how many."""
        ...

    def rollups(self, day: int) -> Iterator[pa.Table]:
        """Those of a day, with the columns `ROLLED`."""
        ...

    def events(self) -> Iterator[pa.Table]:
        """All of them."""
        ...

    def close(self) -> None:
        """It is read."""
        ...


def of_day(column: str, day: int) -> str:
    """The condition that a time in ns lies in a day since 1970; the first and the last one end where times do."""
    start, end = max(day * DAY_NS, TIME_MIN_NS), min((day + 1) * DAY_NS, TIME_MAX_NS)
    return f"{column} >= {start:d} AND {column} < {end:d}"
