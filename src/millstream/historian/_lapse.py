"""Retention where tags are kept for different times: a sealed day is written anew without what is over.

As sealing does it: the new file is written and synced beside the old one, then one transaction names it. A day is
written anew only when something of it has come to its end, once for each kind of keeping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.historian._keep import NEVER, Gone
from millstream.historian._seal import Sealer, is_lapsed, quoted
from millstream.historian._store import DAY_NS, HistoryStore

_ROLLUP_OVER = "(level_s = 60 AND tag_id IN ({minutes})) OR (level_s = 3600 AND tag_id IN ({hours}))"


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A day's files without what is over, written and not named yet; None: nothing is left of it, so there is none."""

    day: int
    before: tuple[str | None, str | None]
    after: tuple[str | None, str | None]
    rows: int


class Lapser:
    """`write` may run beside ingest (on the sealing thread); `name` and `drop_late` on the writer's thread."""

    def __init__(self, store: HistoryStore, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._done: dict[int, tuple[str | None, str | None, Gone]] = {}

    def write(self, day: int, gone: Gone) -> Lapsed | None:
        """Write what stays of a sealed day; None when nothing of it is over. Raises HistoryStoreError."""
        if not (gone.is_all or gone.samples or gone.minutes or gone.hours):
            return None
        cursor = self._store.cursor()
        try:
            with self._store.faults("drop what is over"):
                found = cursor.execute("SELECT file, rollup, rows FROM segments WHERE day = ?", [day]).fetchall()
                if not found or self._done.get(day) == (*found[0][:2], gone):
                    return None
                file, rollup, rows = found[0]
                new_file, rows = self._samples(cursor, file, gone, rows)
                new_rollup = self._rollups(cursor, rollup, gone)
        finally:
            cursor.close()
        self._done[day] = (new_file, new_rollup, gone)
        if (new_file, new_rollup) == (file, rollup):
            return None
        return Lapsed(day, (file, rollup), (new_file, new_rollup), rows)

    def _samples(self, cursor: object, file: str | None, gone: Gone, rows: int) -> tuple[str | None, int]:
        if file is None or gone.is_all:
            return None, 0
        if not gone.samples:
            return file, rows
        return self._without(cursor, file, f"tag_id IN ({_list(gone.samples)})", rows, "tag_id, ts, file_row_number")

    def _rollups(self, cursor: object, rollup: str | None, gone: Gone) -> str | None:
        if rollup is None or not (gone.minutes or gone.hours):
            return rollup
        over = _ROLLUP_OVER.format(minutes=_list(gone.minutes), hours=_list(gone.hours))
        return self._without(cursor, rollup, over, -1, "level_s, tag_id, start_ns")[0]

    def _without(self, cursor: object, name: str, over: str, rows: int, order: str) -> tuple[str | None, int]:
        execute = getattr(cursor, "execute")  # noqa: B009 (DuckDB's own types are not there when it is not installed)
        source = f"read_parquet({quoted(self._store.folder / name)}, file_row_number = true)"
        counted = execute(f"SELECT count(*), count(*) FILTER ({over}) FROM {source}").fetchall()[0]
        if not counted[1]:
            return name, rows
        if counted[0] == counted[1]:
            return None, 0
        select = f"SELECT * EXCLUDE (file_row_number) FROM {source} WHERE NOT ({over}) ORDER BY {order}"
        new = _next_name(name)
        return new, self._sealer.copy(cursor, select, new)

    def roll_up_again(self, day: int) -> Lapsed | None:
        """Work the rollup of a sealed day out anew from its samples; what is over keeps the old one. None when there
        are no samples. Raises HistoryStoreError."""
        cursor = self._store.cursor()
        try:
            with self._store.faults("work out rollups"):
                found = cursor.execute("SELECT file, rollup, rows FROM segments WHERE day = ?", [day]).fetchall()
                if not found or found[0][0] is None:
                    return None
                file, rollup, rows = found[0]
                folder = self._store.folder
                new = _next_name(rollup or file.replace("days/", "rollups/"))
                self._sealer.roll_up(cursor, folder / file, folder / rollup if rollup else None, new)
        finally:
            cursor.close()
        return Lapsed(day, (file, rollup), (file, new), rows)

    def name(self, lapsed: Lapsed) -> tuple[str, ...]:
        """Make the new files part of the history; the files to remove once no query reads them: the old ones, or, when
        the day was sealed anew meanwhile, the new ones. Raises HistoryStoreError."""
        with self._store.transaction("drop what is over") as con:
            found = con.execute("SELECT file, rollup FROM segments WHERE day = ?", [lapsed.day]).fetchall()
            is_current = bool(found) and tuple(found[0]) == lapsed.before
            if is_current:
                con.execute(
                    "UPDATE segments SET file = ?, rollup = ?, rows = ? WHERE day = ?",
                    [*lapsed.after, lapsed.rows, lapsed.day],
                )
            else:
                self._done.pop(lapsed.day, None)
        kept, dropped = (lapsed.after, lapsed.before) if is_current else (lapsed.before, lapsed.after)
        return tuple(name for name in dropped if name is not None and name not in kept)

    def drop_events(self, before_day: int) -> None:
        """Forget the events of days before `before_day`. Raises HistoryStoreError."""
        if before_day > NEVER:
            with self._store.transaction("drop old events") as con:
                con.execute("DELETE FROM events WHERE ts < make_timestamp_ns(?)", [before_day * DAY_NS])

    def drop_late(self, day: int, tag_ids: Sequence[int]) -> int:
        """Drop hot rows of a sealed day that came after their tags' samples of it were dropped; how many. Raises
        HistoryStoreError."""
        if not tag_ids:
            return 0
        with self._store.transaction("drop late rows") as con:
            dropped = int(
                con.execute(
                    "DELETE FROM readings WHERE ts >= make_timestamp_ns(?) AND ts < make_timestamp_ns(?) "
                    "AND tag_id IN (SELECT unnest(?::UINTEGER[])) AND EXISTS (SELECT 1 FROM segments WHERE day = ?)",
                    [day * DAY_NS, (day + 1) * DAY_NS, list(tag_ids), day],
                ).fetchall()[0][0]
            )
            if dropped:
                self._store.count(con, "expired", dropped)
                self._store.write_last(con)
            return dropped


def _list(tag_ids: Sequence[int]) -> str:
    return ", ".join(map(str, tag_ids)) or "-1"  # no tag has it; IN (NULL) would be neither true nor false


def _next_name(name: str) -> str:
    """``days/2026-01-31.80-1.parquet`` after ``days/2026-01-31.80.parquet``."""
    stem = name.removesuffix(".parquet")
    if not is_lapsed(name):
        return f"{stem}-1.parquet"
    base, _, number = stem.rpartition("-")
    return f"{base}-{int(number) + 1}.parquet"
