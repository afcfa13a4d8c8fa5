"""Retention where tags are kept for different times: a sealed day is written anew without what is over.

As sealing does it: the new file is written and synced beside the old one, then one transaction names it. A day is
written anew only when something of it has come to its end, once for each kind of keeping.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millstream.historian._dialect_duckdb import Segment, is_lapsed
from millstream.historian._keep import NEVER, Gone
from millstream.historian._seal import Sealer, closed_tags, quoted
from millstream.historian._store import DAY_NS, HistoryStore

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_ROLLUP_COLUMNS = (
    "level_s INTEGER, tag_id UINTEGER, start_ns BIGINT, rows BIGINT, numbers BIGINT, low DOUBLE, high DOUBLE, "
    "total DOUBLE, opening DOUBLE, closing DOUBLE, first_ns BIGINT, last_ns BIGINT"
)
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

    def take_rollups(self, day: int, parts: Iterable[pa.Table]) -> int:
        """Put rollups of tags that have no samples of a day beside what there is of it, from elsewhere; how many.
        Raises HistoryStoreError."""
        with self._store.transaction("take rollups") as con:
            found = con.execute("SELECT file, rollup, rows FROM segments WHERE day = ?", [day]).fetchall()
            file, rollup, rows = found[0] if found else (None, None, 0)
            con.execute(f"CREATE OR REPLACE TEMP TABLE taken ({_ROLLUP_COLUMNS})")
            for part in parts:
                con.register("incoming_rollups", part)
                try:
                    con.execute("INSERT INTO taken BY NAME SELECT * FROM incoming_rollups")
                finally:
                    con.unregister("incoming_rollups")
            count = int(con.execute("SELECT count(*) FROM taken").fetchall()[0][0])
            date = datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
            new = _next_name(rollup or f"rollups/{date.isoformat()}.{count}.parquet")
            select = "SELECT * FROM taken"
            if rollup is not None:
                select += f" UNION ALL BY NAME SELECT * FROM read_parquet({quoted(self._store.folder / rollup)})"
            self._sealer.copy(con, f"SELECT * FROM ({select}) ORDER BY level_s, tag_id, start_ns", new)
            con.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", [day, file, rows, new])
            con.execute("DROP TABLE taken")
        if rollup is not None:
            self._sealer.remove([rollup])
        return count

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

    def drop_late(self, day: int, gone: Gone) -> int:
        """Drop hot rows of a sealed day that came after their tags' samples of it were dropped; how many. A rollup
        stays as it was made; of a tag without one the rows stay, and make one. Raises HistoryStoreError."""
        with self._store.transaction("drop late rows") as con:
            found = con.execute("SELECT file, rollup FROM segments WHERE day = ?", [day]).fetchall()
            if not found:
                return 0
            span = [day * DAY_NS, (day + 1) * DAY_NS]
            here = "ts >= make_timestamp_ns(?) AND ts < make_timestamp_ns(?)"
            hot = {row[0] for row in con.execute(f"SELECT DISTINCT tag_id FROM readings WHERE {here}", span).fetchall()}
            file, rollup = found[0]
            late = self._closed(con, file, rollup, hot) | hot.intersection(gone.samples, gone.minutes, gone.hours)
            if not late:
                return 0
            dropped = int(
                con.execute(
                    f"DELETE FROM readings WHERE {here} AND tag_id IN (SELECT unnest(?::UINTEGER[]))",
                    [*span, sorted(late)],
                ).fetchall()[0][0]
            )
            self._store.count(con, "expired", dropped)
            self._store.write_last(con)
            return dropped

    def closed(self, pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
        """Of tags and days those of which only the rollup is left. Raises HistoryStoreError."""
        by_day: dict[int, set[int]] = {}
        for tag_id, day in pairs:
            by_day.setdefault(day, set()).add(tag_id)
        cursor = self._store.cursor()
        try:
            with self._store.faults("look at its days"):
                found = cursor.execute(
                    "SELECT day, file, rollup FROM segments WHERE day IN (SELECT unnest(?::BIGINT[]))", [list(by_day)]
                ).fetchall()
                return {
                    (tag_id, day)
                    for day, file, rollup in found
                    for tag_id in self._closed(cursor, file, rollup, by_day[day])
                }
        finally:
            cursor.close()

    def _closed(self, con: duckdb.DuckDBPyConnection, file: str | None, rollup: str | None, tags: set[int]) -> set[int]:
        """Of these tags those whose samples of a day are gone."""
        if rollup is None:
            return tags if file is None else set()
        folder = self._store.folder
        return closed_tags(con, Segment(0, str(folder / file) if file else None, str(folder / rollup)), tags)


def _list(tag_ids: Sequence[int]) -> str:
    return ", ".join(map(str, tag_ids)) or "-1"  # no tag has it; IN (NULL) would be neither true nor false


def _next_name(name: str) -> str:
    """``days/2026-01-31.80-1.parquet`` after ``days/2026-01-31.80.parquet``."""
    stem = name.removesuffix(".parquet")
    if not is_lapsed(name):
        return f"{stem}-1.parquet"
    base, _, number = stem.rpartition("-")
    return f"{base}-{int(number) + 1}.parquet"
