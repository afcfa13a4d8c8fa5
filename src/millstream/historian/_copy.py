"""The embedded history as files of one moment, for a backup; and what such files hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from millstream.historian._store import COPY_FOLDER, HistoryStore, HistoryStoreError
from millstream.kernel import needs_extra

if TYPE_CHECKING:
    import duckdb

DATABASE = "hot.duckdb"


class HistoryProof(msgspec.Struct, frozen=True):
    """What a history holds: rows of each table, rows of all sealed days as their files have them, and how far each
    stream is stored."""

    tables: dict[str, int]
    sealed_rows: int
    positions: dict[str, int]


def copy_history(store: HistoryStore) -> Path:
    """The folder of the copy. To be called on the thread that writes, so that no day is sealed or dropped meanwhile;
    what comes in waits in its stream. Raises HistoryStoreError."""
    folder = store.folder / COPY_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    with store.faults("be copied"):
        folder.mkdir(mode=0o700)
        cursor = store.cursor()
        try:
            path = str(folder / DATABASE).replace("'", "''")
            cursor.execute(f"ATTACH '{path}' AS backup_copy")
            try:
                cursor.execute(f"COPY FROM DATABASE {Path(DATABASE).stem} TO backup_copy")
                names = _sealed(cursor)
            finally:
                cursor.execute("DETACH backup_copy")
        finally:
            cursor.close()
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _link(store.folder / name, folder / name)
    return folder


def _sealed(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """Files of sealed days and their rollups, below the history's folder."""
    rows = cursor.execute("SELECT file, rollup FROM segments ORDER BY day").fetchall()
    return [name for row in rows for name in row if name]


def _link(source: Path, target: Path) -> None:
    """Such a file is never changed in place, so a second name of it is a copy."""
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def copied_files(folder: Path) -> list[str]:
    """All files of a copy, as paths below it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def prove_history(folder: Path) -> HistoryProof:
    """Open a history that nobody works on and count. Raises HistoryStoreError when it cannot be read."""
    with needs_extra("the history", "historian"):
        import duckdb
    try:
        with duckdb.connect(str(folder / DATABASE), read_only=True) as con:
            names = [row[0] for row in con.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
            tables = {name: _count(con, f'"{name}"') for name in names}
            days = con.execute("SELECT file FROM segments WHERE file IS NOT NULL").fetchall()
            files = [str(folder / row[0]) for row in days]
            sealed = sum(_count(con, "read_parquet(?)", file) for file in files)
            positions = con.execute("SELECT stream, generation, last_seq FROM sink_pos").fetchall()
    except (duckdb.Error, OSError) as error:
        raise HistoryStoreError(
            f"a copy of the history cannot be read: {str(error).splitlines()[0]}", where=str(folder)
        ) from error
    return HistoryProof(tables, sealed, {f"{stream} {generation}": seq for stream, generation, seq in positions})


def move_positions(folder: Path, generations: Mapping[str, int]) -> None:
    """A restored stream is the same one with another time of its making, by which the history knows it: stream -> that
    time (UTC ns). The newest position of each goes along. Raises HistoryStoreError."""
    with needs_extra("the history", "historian"):
        import duckdb
    try:
        with duckdb.connect(str(folder / DATABASE)) as con:
            for stream, generation in generations.items():
                con.execute(
                    "UPDATE sink_pos SET generation = ? WHERE stream = ? AND generation = "
                    "(SELECT max(generation) FROM sink_pos WHERE stream = ?)",
                    [generation, stream, stream],
                )
    except (duckdb.Error, OSError) as error:
        raise HistoryStoreError(
            f"positions cannot be written: {str(error).splitlines()[0]}", where=str(folder)
        ) from error


def _count(con: duckdb.DuckDBPyConnection, source: str, *values: str) -> int:
    row = con.execute(f"SELECT count(*) FROM {source}", list(values)).fetchone()
    return int(row[0]) if row is not None else 0
