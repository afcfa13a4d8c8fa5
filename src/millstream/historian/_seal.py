"""Sealing: closed days leave the hot table for one sorted Parquet file each, with rollups beside it; retention drops
files.

The file is written under a temporary name, synced, renamed, and its folder synced; then one transaction names it in
`segments` and deletes the hot rows. Readers use only files that `segments` names, so a crash in between leaves an
orphan, which the next start removes, never a sample twice. Late data waits in the hot table, is merged by every
query, and is sealed again together with the day's old file, rollups included.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millstream.historian._dialect_duckdb import DAY_NS, HOUR_NS, MINUTE_NS, Segment, is_lapsed
from millstream.historian._store import HistoryStore, HistoryStoreError

ROW_GROUP_ROWS = 122_880  # about 25 tags at 20 s: what one tag's query has to read
SLICE_ROWS = 2_000_000  # samples that a rollup is worked out of at a time: each tag's minutes take memory until then
_DAYS, _ROLLUPS = "days", "rollups"
_TEMPORARY = ".tmp-"
_COLUMNS = "tag_id, ts, kind, value, whole, text, quality"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A written but not yet named file; paths are relative to the history's folder."""

    day: int
    upto: int  # place of arrival: hot rows from here on came later
    file: str
    rollup: str
    rows: int
    hot_rows: int
    old: tuple[str, ...]


Step = Callable[[str], None]
"""Called with the name of each step that was reached; tests crash there."""


def _nothing(step: str) -> None:
    """Go on."""


class Sealer:
    """Seals one history. `write` may run beside ingest (on another thread); all else runs on the writer's thread."""

    def __init__(self, store: HistoryStore, *, step: Step = _nothing) -> None:
        self._store = store
        self._step = step

    def segments(self) -> list[Segment]:
        """What is sealed, by day."""
        cursor = self._store.cursor()
        try:
            with self._store.faults("list segments"):
                rows = cursor.execute("SELECT day, file, rollup FROM segments ORDER BY day").fetchall()
        finally:
            cursor.close()
        return [Segment(day, self._path(file), self._path(rollup)) for day, file, rollup in rows]

    def _path(self, name: str | None) -> str | None:
        return None if name is None else str(self._store.folder / name)

    def write(self, day: int, upto: int, *, mark: int | None = None, is_part: bool = False) -> Sealed | None:
        """Write the file of one day from its hot rows below `upto` and its old file; None when there is nothing to do.
        The file's name has `mark`, left out: `upto`; with `is_part` it tells that some tags' samples are over. Raises
        HistoryStoreError."""
        folder = self._store.folder
        cursor = self._store.cursor()
        try:
            with self._store.faults(f"seal day {_date(day)}"):
                hot = cursor.execute(
                    "SELECT count(*) FROM readings "
                    "WHERE ts >= make_timestamp_ns(?) AND ts < make_timestamp_ns(?) AND n < ?",
                    [day * DAY_NS, (day + 1) * DAY_NS, upto],
                ).fetchall()[0][0]
                if not hot:
                    return None
                found = cursor.execute("SELECT file, rows, rollup FROM segments WHERE day = ?", [day]).fetchall()
                old_file, old_rows, old_rollup = found[0] if found else (None, 0, None)
                stem = f"{_date(day)}.{upto if mark is None else mark}" + (
                    "-0" if is_part or (found and (old_file is None or is_lapsed(old_file))) else ""
                )
                file, rollup = f"{_DAYS}/{stem}.parquet", f"{_ROLLUPS}/{stem}.parquet"
                source = (
                    f"SELECT {_COLUMNS}, n FROM readings WHERE ts >= make_timestamp_ns({day * DAY_NS}) "
                    f"AND ts < make_timestamp_ns({(day + 1) * DAY_NS}) AND n < {upto}"
                )
                if old_file is not None:
                    path = quoted(folder / old_file)
                    source += (
                        f" UNION ALL SELECT {_COLUMNS}, file_row_number - {2**62} AS n "
                        f"FROM read_parquet({path}, file_row_number = true)"
                    )
                rows = self.copy(cursor, f"SELECT {_COLUMNS} FROM ({source}) ORDER BY tag_id, ts, n", file)
                if rows != hot + old_rows:
                    raise HistoryStoreError(
                        "sealed file does not hold all rows", where=file, expected=str(hot + old_rows), got=str(rows)
                    )
                self.roll_up(cursor, folder / file, folder / old_rollup if old_rollup else None, rollup)
        finally:
            cursor.close()
        old = tuple(name for name in (old_file, old_rollup) if name is not None)
        return Sealed(day, upto, file, rollup, rows, hot, old)

    def roll_up(self, cursor: object, file: Path, old: Path | None, name: str) -> None:
        """Write the rollup of a day's file, `name`, from some of its tags at a time; of tags that it has no samples of
        as it stands in `old`. Raises DuckDB's errors, OSError."""
        slices = _fetched(cursor, _slices_sql(file))
        final = self._store.folder / name
        final.parent.mkdir(exist_ok=True)
        parts = [final.with_name(f"{_TEMPORARY}{number}-{final.name}") for number in range(len(slices))]
        try:
            for part, (first, last) in zip(parts, slices, strict=True):
                _copy(cursor, _minutes_sql(file, first, last), part)
            self.copy(cursor, _joined_sql(parts, file, old), name)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)

    def copy(self, cursor: object, select: str, name: str) -> int:
        """Write rows into the file `name` of the history, synced; how many. Raises DuckDB's errors, OSError."""
        folder = self._store.folder
        final = folder / name
        final.parent.mkdir(exist_ok=True)
        temporary = final.with_name(_TEMPORARY + final.name)
        rows = _copy(cursor, select, temporary)
        self._step("written")
        _sync(temporary)
        temporary.rename(final)
        self._step("renamed")
        _sync(final.parent)
        self._step("synced")
        return rows

    def name(self, sealed: Sealed) -> tuple[str, ...]:
        """Make a written file part of the history, in one transaction; the files that it replaces, to be removed
        once no query reads them. Raises HistoryStoreError."""
        with self._store.transaction("name a sealed day") as con:
            con.execute(
                "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)",
                [sealed.day, sealed.file, sealed.rows, sealed.rollup],
            )
            deleted = con.execute(
                "DELETE FROM readings WHERE ts >= make_timestamp_ns(?) AND ts < make_timestamp_ns(?) AND n < ?",
                [sealed.day * DAY_NS, (sealed.day + 1) * DAY_NS, sealed.upto],
            ).fetchall()[0][0]
            if deleted != sealed.hot_rows:
                raise HistoryStoreError(
                    "hot rows changed while their day was sealed",
                    where=_date(sealed.day),
                    expected=str(sealed.hot_rows),
                    got=str(deleted),
                )
            self._store.write_last(con)
            self._step("named")
        self._step("committed")
        return sealed.old

    def remove(self, names: Sequence[str]) -> None:
        """Remove files that `segments` no longer names."""
        for name in names:
            (self._store.folder / name).unlink(missing_ok=True)

    def clean(self) -> list[str]:
        """Remove what a crash left: temporary files and files that `segments` does not name. At start only."""
        cursor = self._store.cursor()
        try:
            with self._store.faults("list segments"):
                rows = cursor.execute("SELECT file FROM segments UNION ALL SELECT rollup FROM segments").fetchall()
        finally:
            cursor.close()
        known = {row[0] for row in rows}
        removed = []
        for sub in (_DAYS, _ROLLUPS):
            for path in (self._store.folder / sub).glob("*"):
                if f"{sub}/{path.name}" not in known:
                    path.unlink()
                    removed.append(f"{sub}/{path.name}")
        return removed

    def bytes_on_disk(self) -> int:
        """Size of the whole history, in bytes."""
        total = 0
        for path in self._store.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # DuckDB removes its spill files at any time
                total += path.stat().st_size
        return total


def closed_tags(cursor: object, segment: Segment, tags: Collection[int]) -> set[int]:
    """Of these tags those of which only the rollup of a day is left. Raises DuckDB's errors."""
    if not segment.is_part or segment.rollup is None or not tags:
        return set()
    listed = f"tag_id IN ({', '.join(map(str, sorted(tags)))})"
    sql = f"SELECT DISTINCT tag_id FROM read_parquet({quoted(Path(segment.rollup))}) WHERE {listed}"
    if segment.file is not None:
        sql += f" AND tag_id NOT IN (SELECT tag_id FROM read_parquet({quoted(Path(segment.file))}) WHERE {listed})"
    return {row[0] for row in _fetched(cursor, sql)}


def _fetched(cursor: object, select: str) -> list[tuple[Any, ...]]:
    execute = getattr(cursor, "execute")  # noqa: B009 (DuckDB's own types are not there when it is not installed)
    rows: list[tuple[Any, ...]] = execute(select).fetchall()
    return rows


def _copy(cursor: object, select: str, path: Path) -> int:
    how = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
    return int(_fetched(cursor, f"COPY ({select}) TO {quoted(path)} ({how})")[0][0])


def _slices_sql(file: Path) -> str:
    """First and last tag of each slice: of `SLICE_ROWS` samples, or of one tag that has more."""
    return (
        "SELECT min(tag_id), max(tag_id) FROM ("
        f"SELECT tag_id, (sum(rows) OVER (ORDER BY tag_id) - 1) // {SLICE_ROWS} AS slice FROM ("
        f"SELECT tag_id, count(*) AS rows FROM read_parquet({quoted(file)}) GROUP BY tag_id)) GROUP BY slice ORDER BY 1"
    )


def _minutes_sql(file: Path, first: int, last: int) -> str:
    """The minutes and hours of the tags from `first` to `last` of a day's file."""
    single = "SELECT tag_id FROM tags WHERE kind <> 'tag' OR is_corrected"
    number = "CASE WHEN kind BETWEEN 1 AND 3 AND isfinite(value) THEN value END"
    rows = f"SELECT * FROM read_parquet({quoted(file)}, file_row_number = true) WHERE tag_id BETWEEN {first} AND {last}"
    levels = " UNION ALL ".join(
        f"SELECT {every // 10**9} AS level_s, tag_id, "
        f"t_ns // {every} * {every} - (t_ns % {every} < 0)::BIGINT * {every} AS start_ns, "
        "count(*) AS rows, count(number) AS numbers, min(number) AS low, max(number) AS high, sum(number) AS total, "
        "arg_min(number, (t_ns, n)) AS opening, arg_max(number, (t_ns, n)) AS closing, "
        "min(CASE WHEN number IS NOT NULL THEN t_ns END) AS first_ns, "
        "max(CASE WHEN number IS NOT NULL THEN t_ns END) AS last_ns "
        "FROM s GROUP BY 1, 2, 3"
        for every in (MINUTE_NS, HOUR_NS)
    )
    return (
        f"WITH s AS (SELECT tag_id, epoch_ns(ts) AS t_ns, file_row_number AS n, {number} AS number "
        # One value a time where later ones correct earlier ones; only there, since a window over all rows is dear.
        f"FROM ({rows} AND tag_id NOT IN ({single}) UNION ALL {rows} AND tag_id IN ({single}) "
        "QUALIFY row_number() OVER (PARTITION BY tag_id, ts ORDER BY file_row_number DESC) = 1) "
        f"WHERE quality < 2147483648) {levels}"
    )


def _joined_sql(parts: Sequence[Path], file: Path, old: Path | None) -> str:
    """All parts; tags whose samples of this day are over already keep the rollup that was made of them, in `old`."""
    listed = ", ".join(quoted(part) for part in parts)
    kept = (
        ""
        if old is None
        else f" UNION ALL SELECT * FROM read_parquet({quoted(old)}) "
        f"WHERE tag_id NOT IN (SELECT tag_id FROM read_parquet({quoted(file)}))"
    )
    return f"SELECT * FROM (SELECT * FROM read_parquet([{listed}]){kept}) ORDER BY level_s, tag_id, start_ns"


def quoted(path: Path) -> str:
    """A path as a literal of SQL, where none can be bound."""
    return "'" + str(path).replace("'", "''") + "'"


def _date(day: int) -> str:
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


def _sync(path: Path) -> None:
    """Bring a file's content, or a folder's entries, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
