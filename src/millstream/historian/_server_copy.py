"""A history on a server as the files of an embedded one, for a backup; and such files back into an empty server.

So a backup is the same whatever the engine, and what one engine wrote another takes. Samples become sealed days, whose
files are the same as long as their day does not change.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.historian import _clickhouse_copy, _postgres_copy
from millstream.historian._clickhouse_store import ClickhouseStore
from millstream.historian._frozen import ROLLED, ROWS_AT_ONCE, Beside, Frozen
from millstream.historian._home import Server
from millstream.historian._lapse import Lapser
from millstream.historian._last import LastValues
from millstream.historian._ports import DeadLetter
from millstream.historian._postgres_link import PostgresServer
from millstream.historian._postgres_store import PostgresStore
from millstream.historian._seal import Sealer, quoted
from millstream.historian._server import ROLLED_UNTIL
from millstream.historian._store import COPY_FOLDER, HistoryStore, HistoryStoreError, Position
from millstream.historian._storing import Store
from millstream.historian._tags import TagEntry
from millstream.kernel import PlantError

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLES = "tag_id, make_timestamp_ns(time_ns) AS ts, n, kind, value, whole, text, quality"
_EVENTS = "tag_id, make_timestamp_ns(time_ns) AS ts, n, id, source, type, subject, content_type, data, extensions"


def freeze(store: Store) -> Frozen:
    """The history as it is now; on the thread that writes. Raises HistoryStoreError."""
    if isinstance(store, PostgresStore):
        return _postgres_copy.freeze(store)
    assert isinstance(store, ClickhouseStore)
    return _clickhouse_copy.freeze(store)


def copy_server(frozen: Frozen, place: Path) -> Path:
    """The history as a new folder below `place`, on any thread. Raises HistoryStoreError."""
    folder = place / COPY_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    store = HistoryStore(folder)
    try:
        store.open()
        _put_beside(store, frozen.beside, frozen.order)  # first: rollups need the tags
        sealer, rolled = Sealer(store), dict(frozen.rolled_days())
        for day, count in frozen.days():
            _put_rows(store, "readings", _SAMPLES, frozen.samples(day))
            sealed = sealer.write(day, frozen.order, mark=count, is_part=day in rolled)
            _refuse_cut(count, 0 if sealed is None else sealed.rows)
            if sealed is not None:
                sealer.name(sealed)
        lapser = Lapser(store, sealer)
        for day, count in rolled.items():
            _refuse_cut(count, lapser.take_rollups(day, frozen.rollups(day)))
        _refuse_cut(frozen.events_count, _put_rows(store, "events", _EVENTS, frozen.events()))
    finally:
        store.close()
        frozen.close()
    shutil.rmtree(folder / "spill", ignore_errors=True)
    return folder


def _refuse_cut(expected: int, found: int) -> None:
    if expected != found:
        raise HistoryStoreError(
            "history's server gave other rows than it counted", expected=str(expected), got=str(found),
            next_step="begin the backup again",
        )  # fmt: skip


def _put_rows(store: HistoryStore, table: str, columns: str, parts: Iterator[pa.Table]) -> int:
    rows = 0
    for part in parts:
        with store.transaction("be copied") as con:
            con.register("incoming_part", part)
            try:
                con.execute(f"INSERT INTO {table} SELECT {columns} FROM incoming_part")
            finally:
                con.unregister("incoming_part")
        rows += len(part)
    return rows


def _put_beside(store: HistoryStore, beside: Beside, order: int) -> None:
    letters = [(d.source, d.payload, d.reason, d.code, d.subject, d.content_type, d.time_ns) for d in beside.letters]
    counters = {name: value for name, value in beside.counters.items() if name not in ("rows", "order")}
    store.last = LastValues(beside.last)
    with store.transaction("be copied") as con:
        for table, rows in (
            ("tags", [(t.tag_id, t.path, t.description, t.kind, t.is_corrected) for t in beside.tags]),
            ("sink_pos", [(p.stream, p.generation, p.last_seq, p.last_stored_ns) for p in beside.positions]),
            ("stream_gaps", list(beside.gaps)),
            ("ledger_state", list(beside.ledger)),
            ("dead_letters", letters),
        ):
            for row in rows:
                con.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", list(row))
        store.write_last(con)
        for name, value in (*counters.items(), ("order", order), ("last_order", order)):
            con.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", [name, value])


def check_empty(server: Server) -> None:
    """Raises PlantError (MS-2621) when the server holds a history; HistoryStoreError, FencedError."""
    store = _store_of(server)
    try:
        store.open()
        _refuse_full(store)
    finally:
        store.close()


def fill_server(server: Server, folder: Path) -> int:
    """Put the history of a folder, on which nobody works, into an empty server: all of it, or nothing that counts; how
    many samples. Raises PlantError (MS-2621), HistoryStoreError, FencedError."""
    source, store = HistoryStore(folder), _store_of(server)
    try:
        source.open()
        store.open()
        _refuse_full(store)
        parts = _parts(source, "readings"), _parts(source, "events"), _rolled_parts(source)
        beside = _beside(source)
        if isinstance(store, PostgresStore):
            return _postgres_copy.fill(store, beside, *parts)
        return _clickhouse_copy.fill(store, beside, *parts)
    finally:
        store.close()
        source.close()


def _store_of(server: Server) -> PostgresStore | ClickhouseStore:
    return PostgresStore(server) if isinstance(server, PostgresServer) else ClickhouseStore(server)


def _refuse_full(store: PostgresStore | ClickhouseStore) -> None:
    if store.rows_count() or store.tags() or store.counters():
        raise PlantError(
            "history's server is not empty", where=store.server.place, expected="no history there",
            next_step="give historian.engine another schema_name, or drop that one yourself", code="MS-2621",
        )  # fmt: skip


def _beside(source: HistoryStore) -> Beside:
    cursor = source.cursor()
    try:
        with source.faults("be read"):
            tags = cursor.execute("SELECT tag_id, path, description, kind, is_corrected FROM tags").fetchall()
            positions = cursor.execute("SELECT stream, generation, last_seq, last_stored_ns FROM sink_pos").fetchall()
            gaps = cursor.execute("SELECT * FROM stream_gaps").fetchall()
            ledger = cursor.execute("SELECT stream, origin, state FROM ledger_state").fetchall()
            letters = cursor.execute(
                "SELECT payload, reason, code, source, subject, content_type, time_ns FROM dead_letters"
            ).fetchall()
    finally:
        cursor.close()
    counters = {k: v for k, v in source.counters().items() if k not in ("order", "last_order", "expired_upto")}
    rolled = [segment.end_ns for segment in Sealer(source).segments() if segment.is_part]
    counters |= {ROLLED_UNTIL: max(rolled)} if rolled else {}
    return Beside(
        [TagEntry(*row) for row in tags], [Position(*row) for row in positions], gaps,
        [(stream, origin, bytes(state)) for stream, origin, state in ledger], counters,
        [DeadLetter(bytes(payload), *rest) for payload, *rest in letters],
    )  # fmt: skip


def _rolled_parts(source: HistoryStore) -> Iterator[pa.Table]:
    """Rollups of the days of tags that have no samples of them any more."""
    import pyarrow as pa

    cursor = source.cursor()
    try:
        with source.faults("be read"):
            for segment in Sealer(source).segments():
                if segment.rollup is None or not segment.is_part:
                    continue
                sql = f"SELECT {ROLLED} FROM read_parquet({quoted(Path(segment.rollup))})"
                if segment.file is not None:
                    sql += f" WHERE tag_id NOT IN (SELECT tag_id FROM read_parquet({quoted(Path(segment.file))}))"
                for batch in cursor.sql(sql).to_arrow_reader(ROWS_AT_ONCE):
                    if len(batch):
                        yield pa.Table.from_batches([batch])
    finally:
        cursor.close()


def _parts(source: HistoryStore, name: str) -> Iterator[pa.Table]:
    """Rows in the order of their arrival as far as that is known, without `n`: sealed ones come first, and of equal
    times are in their order in the file."""
    import pyarrow as pa

    cursor = source.cursor()
    try:
        with source.faults("be read"):
            found = cursor.execute("SELECT file FROM segments WHERE file IS NOT NULL ORDER BY day").fetchall()
            asked = [f"SELECT * EXCLUDE (n), epoch_ns(ts) AS time_ns FROM {name} ORDER BY n"]
            if name == "readings":
                files = [str(source.folder / row[0]).replace("'", "''") for row in found]
                sealed = "SELECT * EXCLUDE (file_row_number), epoch_ns(ts) AS time_ns FROM read_parquet"
                asked = [
                    f"{sealed}('{file}', file_row_number = true) ORDER BY file_row_number" for file in files
                ] + asked
            for sql in asked:
                for batch in cursor.sql(sql).to_arrow_reader(ROWS_AT_ONCE):
                    yield pa.Table.from_batches([batch]).drop_columns(["ts"])
    finally:
        cursor.close()
