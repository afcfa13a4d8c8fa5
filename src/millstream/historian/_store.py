"""The database of the embedded history: DuckDB, owned by one process, written by one thread.

Rows, position, ledger state, new tags and dead letters of a batch commit in one transaction, so that after kill -9
or a power cut each message is in it once or not at all, and the stream is read on from where the rows end.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.historian._events import EventRow, events_arrow
from millstream.historian._last import LastRow, LastValues
from millstream.historian._ports import DeadLetter
from millstream.historian._rows import Rows
from millstream.historian._schema import MIGRATIONS, SCHEMA, SCHEMA_VERSION
from millstream.historian._tags import TagEntry
from millstream.kernel import ConfigError, FencedError, PlantError, needs_extra

if TYPE_CHECKING:
    import duckdb

DAY_NS = 86_400 * 10**9
MEMORY_BYTES_MAX = 256 * 2**20  # DuckDB's own; a larger sort spills to the folder
THREADS_MAX = 2
CHECKPOINT_WAL_BYTES = 16 * 2**20
COPY_FOLDER = "copy"
"""Below the history's folder: a copy for a backup, until that has it."""


class HistoryStoreError(PlantError):
    """The store could not read or write; nothing of the call was stored."""

    default_code = "MS-0420"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream is stored; `last_stored_ns` is when the server stored that last message, which tells it from
    another one that got the same sequence after the server lost its tail."""

    stream: str
    generation: int
    last_seq: int
    last_stored_ns: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """All that one transaction stores. `before_seq` is where the stream must stand, `position` where it stands
    after."""

    position: Position
    before_seq: int
    rows: Rows
    tags: tuple[TagEntry, ...] = ()
    ledger: Mapping[str, bytes | None] | None = None
    gaps: Sequence[tuple[int, int]] = ()
    bad: Sequence[DeadLetter] = ()
    counts: Mapping[str, int] | None = None
    now_ns: int = 0
    events: Sequence[EventRow] = ()

    def is_new(self, stored_seq: int) -> bool:
        """False when a store that stands at `stored_seq` has it already (an earlier answer was lost). Raises
        FencedError when the stream stands elsewhere than it begins."""
        if stored_seq == self.position.last_seq:
            return False
        if stored_seq != self.before_seq:
            raise FencedError(
                "history stands elsewhere than this batch begins",
                where=self.position.stream,
                expected=f"sequence {self.before_seq}",
                got=str(stored_seq),
                code="MS-0421",
            )
        return True


class HistoryStore:
    """Blocking; each method is one transaction. Writers call from one thread; `cursor` serves readers of other
    threads."""

    def __init__(self, folder: Path, *, memory_bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self.folder = folder
        self._memory_bytes_max = memory_bytes_max
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._order = 0
        self.last = LastValues()
        self._cursor_lock = threading.Lock()

    @property
    def next_order(self) -> int:
        """The place of arrival of the next row: every row below it is stored."""
        return self._order

    def open(self) -> None:
        """Open or make the database. Raises FencedError when another process has it, HistoryStoreError, ConfigError."""
        duckdb = _load_duckdb()
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / COPY_FOLDER, ignore_errors=True)  # of a backup that was not ended
        spill = self.folder / "spill"
        try:
            self._connection = duckdb.connect(
                str(self.folder / "hot.duckdb"),
                config={
                    "memory_limit": f"{self._memory_bytes_max // 2**20}MiB",
                    "threads": THREADS_MAX,
                    "temp_directory": str(spill),
                    "checkpoint_threshold": f"{CHECKPOINT_WAL_BYTES // 2**20}MiB",
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                },
            )
        except duckdb.Error as error:
            if "lock" in str(error).lower():
                raise FencedError(
                    "history is open in another process",
                    where=str(self.folder),
                    code="MS-0421",
                    next_step="stop that process, or ask it",
                ) from error
            raise HistoryStoreError(f"history cannot be opened: {error}", where=str(self.folder)) from error
        with self.faults("open"):
            self._setup()

    def _setup(self) -> None:
        con = self._con
        con.execute(SCHEMA)
        found = con.execute("SELECT max(version) FROM schema_version").fetchone()
        version = found[0] if found else None
        if version is None:
            con.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])
        elif 1 <= version < SCHEMA_VERSION:
            self._migrate(version)
        elif version != SCHEMA_VERSION:
            raise ConfigError(
                "history has another layout",
                where=str(self.folder),
                expected=f"version {SCHEMA_VERSION}",
                got=str(version),
                next_step="open it with the version of Millstream that wrote it",
            )
        row = con.execute(
            "SELECT greatest(coalesce((SELECT value FROM counters WHERE name = 'order'), 0), "
            "coalesce((SELECT max(n) + 1 FROM readings), 0))"
        ).fetchone()
        self._order = int(row[0]) if row else 0
        self.last = LastValues(self._load_last())

    def _migrate(self, version: int) -> None:
        """Bring a store that an earlier version made up to date; after a crash it is as it was, or done."""
        with self.transaction("be migrated") as con:
            for number in range(version, SCHEMA_VERSION):
                for statement in MIGRATIONS[number]:
                    con.execute(statement)
            con.execute("UPDATE schema_version SET version = ?", [SCHEMA_VERSION])

    def close(self) -> None:
        """Close; a crash instead of it loses nothing."""
        with self._cursor_lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def reopen(self) -> None:
        """Close and open again: after a full disk DuckDB refuses all further work on a connection."""
        self.close()
        self.open()

    @property
    def _con(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise HistoryStoreError("history is closed", where=str(self.folder))
        return self._connection

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own for one query (a connection with an unread result refuses further work)."""
        with self._cursor_lock, self.faults("query"):
            return self._con.cursor()

    @contextmanager
    def faults(self, doing: str) -> Iterator[None]:
        """The one place where DuckDB's errors, and the disk's, become ours."""
        duckdb = _load_duckdb()
        try:
            yield
        except (duckdb.Error, OSError, MemoryError) as error:
            is_full = "No space left" in str(error) or "disk full" in str(error).lower()
            raise HistoryStoreError(
                f"history cannot {doing}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
                where=str(self.folder),
                next_step="free space on this disk" if is_full else None,
            ) from error

    @contextmanager
    def transaction(self, doing: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """All or nothing. Raises HistoryStoreError."""
        with self.faults(doing):
            con = self._con
            con.execute("BEGIN")
            is_committed = False
            try:
                yield con
                con.execute("COMMIT")
                is_committed = True
            finally:
                if not is_committed:
                    _roll_back(con)

    def commit(self, batch: Commit) -> bool:
        """Store one batch. False when it is stored already (an earlier answer was lost). Raises HistoryStoreError, and
        FencedError when the stream stands elsewhere than the batch begins."""
        if not batch.is_new(self.position(batch.position.stream, batch.position.generation).last_seq):
            return False
        order = self._order + len(batch.rows) + len(batch.events)
        with self.transaction("store rows") as con:
            self._insert_rows(con, batch.rows)
            _insert_events(con, batch.events, self._order + len(batch.rows))
            self._insert_beside(con, batch)
            _write_position(con, batch.position)
            con.execute("INSERT OR REPLACE INTO counters VALUES ('order', ?)", [order])
        self._order = order
        self.last.add(batch.rows)
        return True

    def _insert_rows(self, con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
        if not len(rows):
            return
        table = rows.arrow(self._order)
        con.register("incoming", table)
        try:
            con.execute("INSERT INTO readings SELECT tag_id, ts, n, kind, value, whole, text, quality FROM incoming")
        finally:
            con.unregister("incoming")

    @staticmethod
    def _insert_beside(con: duckdb.DuckDBPyConnection, batch: Commit) -> None:
        stream, generation = batch.position.stream, batch.position.generation
        _insert_tags(con, batch.tags)
        for origin, state in (batch.ledger or {}).items():
            if state is None:
                con.execute("DELETE FROM ledger_state WHERE stream = ? AND origin = ?", [stream, origin])
            else:
                con.execute("INSERT OR REPLACE INTO ledger_state VALUES (?, ?, ?)", [stream, origin, state])
        _insert(con, "stream_gaps", [(stream, generation, first, last, batch.now_ns) for first, last in batch.gaps])
        _insert(
            con,
            "dead_letters",
            [(d.source, d.payload, d.reason, d.code, d.subject, d.content_type, d.time_ns) for d in batch.bad],
        )
        for name, count in (batch.counts or {}).items():
            HistoryStore.count(con, name, count)

    @staticmethod
    def count(con: duckdb.DuckDBPyConnection, name: str, count: int) -> None:
        """Add to a counter, inside a transaction."""
        con.execute(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
            [name, count],
        )

    def position(self, stream: str, generation: int) -> Position:
        """How far a stream is stored; sequence 0 when nothing is."""
        row = self._one(
            "SELECT last_seq, last_stored_ns FROM sink_pos WHERE stream = ? AND generation = ?", [stream, generation]
        )
        return Position(stream, generation, *row) if row else Position(stream, generation, 0)

    def set_position(self, position: Position) -> None:
        """Put a stream back: it was rolled back below what is stored here."""
        with self.transaction("store a position") as con:
            _write_position(con, position)

    def tags(self) -> list[TagEntry]:
        """The whole dictionary."""
        return [TagEntry(*row) for row in self._all("SELECT * FROM tags ORDER BY tag_id")]

    def ledger(self, stream: str) -> dict[str, bytes]:
        """State of each origin that came through `stream`."""
        return dict(self._all("SELECT origin, state FROM ledger_state WHERE stream = ?", [stream]))

    def counters(self) -> dict[str, int]:
        """Counters since the history began."""
        return dict(self._all("SELECT name, value FROM counters"))

    def gaps_count(self) -> int:
        """Messages that were gone from a stream before they were read."""
        row = self._one("SELECT coalesce(sum(last_seq - first_seq + 1), 0)::BIGINT FROM stream_gaps")
        return int(row[0]) if row else 0

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """The oldest that wait for their stream."""
        return [
            DeadLetter(bytes(payload), reason, code, source, subject, content_type, time_ns)
            for source, payload, reason, code, subject, content_type, time_ns in self._all(
                "SELECT source, payload, reason, code, subject, content_type, time_ns FROM dead_letters "
                "ORDER BY time_ns, source LIMIT ?",
                [limit],
            )
        ]

    def dead_letters_count(self) -> int:
        """How many wait."""
        row = self._one("SELECT count(*) FROM dead_letters")
        return int(row[0]) if row else 0

    def drop_dead_letters(self, sources: Sequence[str]) -> None:
        """These are in their stream now."""
        with self.transaction("drop dead letters") as con:
            con.execute("DELETE FROM dead_letters WHERE list_contains(?, source)", [list(sources)])

    def save_last(self) -> None:
        """Checkpoint the last values. Rows that arrive later are read again from `readings` at start."""
        with self.transaction("checkpoint last values") as con:
            self.write_last(con)

    def _load_last(self) -> list[LastRow]:
        rows = self._all(
            "SELECT tag_id, ts, kind, value, whole, text, quality FROM ("
            "  SELECT *, -1 AS n FROM last_value UNION ALL BY NAME"
            "  SELECT tag_id, epoch_ns(ts) AS ts, kind, value, whole, text, quality, n FROM readings"
            "  WHERE n >= coalesce((SELECT value FROM counters WHERE name = 'last_order'), 0)"
            ") QUALIFY row_number() OVER (PARTITION BY tag_id ORDER BY ts DESC, n DESC) = 1"
        )
        return [LastRow(*row) for row in rows]

    def write_last(self, con: duckdb.DuckDBPyConnection) -> None:
        """Replace the checkpoint, inside a transaction."""
        newest = self.last.arrow()
        con.execute("DELETE FROM last_value")
        if len(newest):
            con.register("incoming_last", newest)
            try:
                con.execute("INSERT INTO last_value SELECT * FROM incoming_last")
            finally:
                con.unregister("incoming_last")
        con.execute("INSERT OR REPLACE INTO counters VALUES ('last_order', ?)", [self._order])

    def hot_days(self) -> dict[int, int]:
        """Rows that are not sealed, by day since 1970."""
        return dict(
            self._all(
                "SELECT epoch_ns(ts) // ? - (epoch_ns(ts) % ? < 0)::BIGINT AS day, count(*) "
                "FROM readings GROUP BY 1 ORDER BY 1",
                [DAY_NS, DAY_NS],
            )
        )

    def rows_count(self) -> int:
        """All stored samples, hot and sealed."""
        row = self._one(
            "SELECT (SELECT count(*) FROM readings) + coalesce((SELECT sum(rows) FROM segments), 0)::BIGINT"
        )
        return int(row[0]) if row else 0

    def oldest_ns(self) -> int | None:
        """From when samples are held: the oldest hot one, or the beginning of the oldest sealed day."""
        row = self._one(
            "SELECT least((SELECT min(day) * ? FROM segments WHERE file IS NOT NULL), "
            "(SELECT epoch_ns(min(ts)) FROM readings))",
            [DAY_NS],
        )
        return None if row is None or row[0] is None else int(row[0])

    def used_bytes(self) -> tuple[int, int]:
        """Size of the database with its log, and how much of it holds something: DuckDB keeps freed blocks to use
        them again, its file does not shrink."""
        with self.faults("be measured"):
            self._con.execute("CHECKPOINT")
        row = self._one("SELECT block_size, total_blocks, used_blocks FROM pragma_database_size()")
        assert row is not None
        return int(row[0]) * int(row[1]), int(row[0]) * int(row[2])

    def _one(self, sql: str, parameters: Sequence[object] = ()) -> tuple[Any, ...] | None:
        with self.faults("read"):
            rows = self._con.execute(sql, list(parameters)).fetchall()
            return rows[0] if rows else None

    def _all(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self.faults("read"):
            return list(self._con.execute(sql, list(parameters)).fetchall())


def _write_position(con: duckdb.DuckDBPyConnection, position: Position) -> None:
    con.execute(
        "INSERT OR REPLACE INTO sink_pos VALUES (?, ?, ?, ?)",
        [position.stream, position.generation, position.last_seq, position.last_stored_ns],
    )


def _insert_events(con: duckdb.DuckDBPyConnection, events: Sequence[EventRow], first_order: int) -> None:
    if events:
        con.register("incoming_events", events_arrow(events, first_order))
        try:
            con.execute("INSERT INTO events SELECT * FROM incoming_events")
        finally:
            con.unregister("incoming_events")


def _insert_tags(con: duckdb.DuckDBPyConnection, tags: Sequence[TagEntry]) -> None:
    """By Arrow: thousands of tags come at once when a site is connected, and a statement each would take seconds."""
    import pyarrow as pa

    if tags:
        con.register(
            "incoming_tags",
            pa.table(
                {
                    "tag_id": pa.array([t.tag_id for t in tags], pa.uint32()),
                    "path": pa.array([t.path for t in tags]),
                    "description": pa.array([t.description for t in tags], pa.string()),
                    "kind": pa.array([t.kind for t in tags]),
                    "is_corrected": pa.array([t.is_corrected for t in tags]),
                }
            ),
        )
        try:
            con.execute("INSERT OR REPLACE INTO tags SELECT * FROM incoming_tags")
        finally:
            con.unregister("incoming_tags")


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert into one of our own tables; `table` is never a user's word."""
    if rows:
        marks = ", ".join("?" for _ in rows[0])
        con.executemany(f"INSERT INTO {table} VALUES ({marks})", [list(row) for row in rows])


def _roll_back(con: duckdb.DuckDBPyConnection) -> None:
    duckdb = _load_duckdb()
    try:
        con.execute("ROLLBACK")
    except duckdb.Error:
        # The failed statement or commit has ended the transaction already, or the connection is beyond use; `reopen`
        # heals it.
        return


def _load_duckdb() -> Any:
    with needs_extra("the historian", "historian"):
        import duckdb
    return duckdb
