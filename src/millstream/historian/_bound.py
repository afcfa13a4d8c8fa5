"""The bound of a history's bytes on disk: what leaves the database, and what is dropped, the oldest first.

The database may fill half of the bound. Beyond that its days are sealed before their time, today's too: sealed days
are smaller, and go one by one. Then, until all fits: the samples of the oldest days (their rollups stay, as after
retention), rollups from the oldest on, at last what is left of days that still fill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.historian._store import HistoryStore


@dataclass(frozen=True, slots=True)
class SizedDay:
    """A sealed day and the bytes of its files."""

    day: int
    file: str | None
    rollup: str | None
    file_bytes: int
    rollup_bytes: int


class DiskBound:
    """Blocking, on the writer's thread: `days_to_seal`, then, once they are sealed, `drop`."""

    def __init__(self, store: HistoryStore, bytes_max: int) -> None:
        self._store = store
        self._bytes_max = bytes_max

    def days_to_seal(self) -> list[int]:
        """The days to seal now, the oldest first. Raises HistoryStoreError."""
        _, used_bytes = self._store.used_bytes()
        return sorted(self._store.hot_days()) if used_bytes > self._bytes_max // 2 else []

    def drop(self, today: int) -> list[str]:
        """Forget what does not fit; the files to remove once no query reads them. `today` is counted since 1970: later
        samples of that day must find their place. Raises HistoryStoreError."""
        file_bytes, used_bytes = self._store.used_bytes()
        if used_bytes > self._bytes_max // 2:
            self._drop_events()
        days = self._days()
        excess = file_bytes + sum(day.file_bytes + day.rollup_bytes for day in days) - self._bytes_max
        samples, rest = choose(days, excess, today)
        with self._store.transaction("drop what does not fit") as con:
            for day in samples:
                con.execute("UPDATE segments SET file = NULL, rows = 0 WHERE day = ?", [day.day])
            for day in rest:
                con.execute("DELETE FROM segments WHERE day = ?", [day.day])
        gone = [day.file for day in samples] + [name for day in rest for name in (day.file, day.rollup)]
        return list(dict.fromkeys(name for name in gone if name is not None))

    def _days(self) -> list[SizedDay]:
        folder = self._store.folder

        def size(name: str | None) -> int:
            return (folder / name).stat().st_size if name is not None else 0

        with self._store.faults("measure its files"):
            cursor = self._store.cursor()
            try:
                rows = cursor.execute("SELECT day, file, rollup FROM segments ORDER BY day").fetchall()
            finally:
                cursor.close()
            return [SizedDay(day, file, rollup, size(file), size(rollup)) for day, file, rollup in rows]

    def _drop_events(self) -> None:
        """The older half of them: all samples are sealed, so they are what fills the database."""
        with self._store.transaction("drop old events") as con:
            con.execute("DELETE FROM events WHERE epoch_ns(ts) < (SELECT quantile_disc(epoch_ns(ts), 0.5) FROM events)")


def choose(days: Sequence[SizedDay], excess: int, today: int) -> tuple[list[SizedDay], list[SizedDay]]:
    """Of which days, by age, samples go and the rollup stays; and which go altogether."""
    whole = [day for day in days if day.day < today]
    samples: list[SizedDay] = []
    rest: list[SizedDay] = []
    for day in whole:
        if excess > 0 and day.file is not None:
            samples.append(day)
            excess -= day.file_bytes
    for day in (*whole, *(day for day in days if day.day >= today)):
        if excess > 0:
            rest.append(day)
            excess -= day.rollup_bytes + (0 if day in samples else day.file_bytes)
    return samples, rest
