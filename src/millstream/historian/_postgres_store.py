"""A history in PostgreSQL, as a hypertable where TimescaleDB is there. One writer, held by an advisory lock.

Rows, position, ledger state, new tags and dead letters of a batch commit in one transaction of the server, so that
after kill -9 of either side each message is in it once or not at all. The lock belongs to the writer's session: a
commit that is still under way ends before anybody else reads the position.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from millstream.historian._columns import KIND_TEXT
from millstream.historian._dialect_duckdb import Chosen, span_of
from millstream.historian._dialect_postgres import day_sql, rollup_sql
from millstream.historian._events import EventRow
from millstream.historian._last import LastRow, LastValues
from millstream.historian._ports import DeadLetter
from millstream.historian._postgres_link import PostgresLink, PostgresServer, identifier
from millstream.historian._postgres_schema import CHUNK_NS, ROLLUPS, SCHEMA, SCHEMA_VERSION
from millstream.historian._rows import Rows
from millstream.historian._server import ROLLED_UNTIL, Links
from millstream.historian._store import DAY_NS, Commit, HistoryStoreError, Position
from millstream.historian._tags import TagEntry
from millstream.kernel import ConfigError, FencedError

if TYPE_CHECKING:
    import pyarrow as pa

KIND_ESCAPED = 6
LOCK_WAIT_S = 30
_LOCK_SPACE = 0x4D53
_NUL_MARK = "\u2400"


class PostgresStore:
    """Blocking; each method is one transaction. Writers call from one thread; `reading` serves readers of others."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.last = LastValues()
        self.rolled_until_ns: int | None = None
        self._order = 0
        self._links = Links(lambda: PostgresLink(server), _answers)

    @property
    def next_order(self) -> int:
        """The place of arrival of the next row: every row below it is stored."""
        return self._order

    def open(self) -> None:
        """Connect, and make the tables when they are not there. Raises HistoryStoreError, FencedError when another
        process writes, ConfigError."""
        with self._links.opening(lambda: PostgresLink(self.server)) as link:
            self._lock(link)
            self._setup(link)

    def close(self) -> None:
        """Close; a crash instead of it loses nothing."""
        self._links.close()

    def reopen(self) -> None:
        """Close and connect again, and see what is stored."""
        self.close()
        self.open()

    def _lock(self, link: PostgresLink) -> None:
        """A writer that died holds the lock until the server has noticed, so wait a little."""
        for name, value in (("idle", 30), ("interval", 10), ("count", 3)):  # a machine that lost its power says nothing
            link.run(f"SET tcp_keepalives_{name} TO {value}")
        link.run(f"SET lock_timeout TO '{LOCK_WAIT_S}s'")
        try:
            link.ask("SELECT pg_advisory_lock($1::int, hashtext($2))::text", [_LOCK_SPACE, self.server.schema])
        except HistoryStoreError as error:
            if link.is_broken:
                raise
            raise FencedError(
                "history is open in another process",
                where=self.server.place,
                code="MS-0421",
                next_step="stop that process, or give this one another schema",
            ) from error
        link.run("SET lock_timeout TO 0")

    def _setup(self, link: PostgresLink) -> None:
        schema = self.server.schema
        encoding = link.rows("SELECT current_setting('server_encoding')")[0][0]
        if encoding != "UTF8":
            raise ConfigError(
                "history's database cannot hold all text",
                where=self.server.place,
                expected="encoding UTF8",
                got=encoding,
            )
        if not link.rows("SELECT to_regnamespace($1) IS NOT NULL", [identifier(schema)])[0][0]:
            link.run(f"CREATE SCHEMA {identifier(schema)}", doing="make its schema")
        if link.rows("SELECT to_regclass('schema_version') IS NULL")[0][0]:
            with link.transaction("make its tables"):
                for statement in SCHEMA:
                    link.run(statement, doing="make its tables")
                self._make_hypertable(link)
                link.run(f"INSERT INTO schema_version VALUES ({SCHEMA_VERSION})")
        version = link.rows("SELECT max(version) FROM schema_version")[0][0]
        if version != SCHEMA_VERSION:
            raise ConfigError(
                "history has another layout",
                where=self.server.place,
                expected=f"version {SCHEMA_VERSION}",
                got=str(version),
                next_step="open it with the version of Millstream that wrote it",
            )
        if link.rows("SELECT to_regclass('rollups') IS NULL")[0][0]:
            link.run(ROLLUPS, doing="make its table of rollups")
        counters = dict(link.rows("SELECT name, value FROM counters"))
        self._order, self.rolled_until_ns = counters.get("order", 0), counters.get(ROLLED_UNTIL)
        self.last = LastValues(load_last(link))

    def _make_hypertable(self, link: PostgresLink) -> None:
        """Where the database has TimescaleDB's extension, one chunk a day."""
        found = link.rows(
            "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
            "WHERE e.extname = 'timescaledb'"
        )
        if found:
            link.ask(
                f"SELECT {identifier(found[0][0])}.create_hypertable('readings', 'time_ns', "
                f"chunk_time_interval => {CHUNK_NS}::bigint, create_default_indexes => false)::text",
                doing="make its hypertable",
            )

    def _writer(self) -> PostgresLink:
        """The writer's connection, made anew when it broke. Raises HistoryStoreError, FencedError."""
        links = self._links
        if links.is_closed:
            raise HistoryStoreError("history is closed", where=self.server.place)
        if links.writer is None or links.writer.is_broken:
            self.reopen()
        assert links.writer is not None
        return links.writer

    def reading(self) -> AbstractContextManager[PostgresLink]:
        """A connection of its own for one question. Raises HistoryStoreError."""
        return self._links.reading()

    def commit(self, batch: Commit) -> bool:
        """Store one batch. False when it is stored already (an earlier answer was lost). Raises HistoryStoreError, and
        FencedError when the stream stands elsewhere than the batch begins."""
        if not batch.is_new(self.position(batch.position.stream, batch.position.generation).last_seq):
            return False
        link, first = self._writer(), self._order
        order = first + len(batch.rows) + len(batch.events)
        with link.transaction("store rows"):
            link.insert("readings", _readings(batch.rows, first))
            link.insert("events", _events(batch.events, first + len(batch.rows)))
            _insert_beside(link, batch)
            _write_position(link, batch.position)
            for name, count in {**(batch.counts or {}), "rows": len(batch.rows)}.items():
                count_up(link, name, count)
            link.run_each(_SET_COUNTER, [("order", order)])
        self._order = order
        self.last.add(batch.rows)
        return True

    def position(self, stream: str, generation: int) -> Position:
        """How far a stream is stored; sequence 0 when nothing is."""
        rows = self._all(
            "SELECT last_seq, last_stored_ns FROM sink_pos WHERE stream = $1 AND generation = $2", [stream, generation]
        )
        return Position(stream, generation, *rows[0]) if rows else Position(stream, generation, 0)

    def set_position(self, position: Position) -> None:
        """Put a stream back: it was rolled back below what is stored here."""
        _write_position(self._writer(), position)

    def tags(self) -> list[TagEntry]:
        """The whole dictionary."""
        rows = self._all("SELECT tag_id, path, description, kind, is_corrected FROM tags ORDER BY tag_id")
        return [TagEntry(*row) for row in rows]

    def ledger(self, stream: str) -> dict[str, bytes]:
        """State of each origin that came through `stream`."""
        return dict(self._all("SELECT origin, state FROM ledger_state WHERE stream = $1", [stream]))

    def counters(self) -> dict[str, int]:
        """Counters since the history began."""
        return dict(self._all("SELECT name, value FROM counters"))

    def gaps_count(self) -> int:
        """Messages that were gone from a stream before they were read."""
        return int(self._all("SELECT coalesce(sum(last_seq - first_seq + 1), 0)::bigint FROM stream_gaps")[0][0])

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """The oldest that wait for their stream."""
        rows = self._all(
            "SELECT payload, reason, code, source, subject, content_type, time_ns FROM dead_letters "
            f"ORDER BY time_ns, source LIMIT {limit:d}"
        )
        return [DeadLetter(*row) for row in rows]

    def dead_letters_count(self) -> int:
        """How many wait."""
        return int(self._all("SELECT count(*) FROM dead_letters")[0][0])

    def drop_dead_letters(self, sources: Sequence[str]) -> None:
        """These are in their stream now."""
        self._writer().run_each("DELETE FROM dead_letters WHERE source = $1", [(source,) for source in sources])

    def save_last(self) -> None:
        """Nothing to do: at start the last values are read by the index."""

    def rows_count(self) -> int:
        """All stored samples."""
        return self.counters().get("rows", 0)

    def oldest_ns(self) -> int | None:
        """The time of the oldest sample."""
        oldest: int | None = self._all(
            "SELECT min(r.time_ns) FROM tags t CROSS JOIN LATERAL "
            "(SELECT time_ns FROM readings WHERE tag_id = t.tag_id ORDER BY time_ns LIMIT 1) r"
        )[0][0]
        return oldest

    def bytes_on_disk(self) -> int:
        """Of all tables with their indexes, as the server says; those of chunks do not count."""
        return int(
            self._all(
                "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = to_regnamespace($1)",
                [identifier(self.server.schema)],
            )[0][0]
        )

    def drop(self, tag_ids: Sequence[int], before_ns: int, *, upto: int | None = None) -> int:
        """Drop the samples of these tags before a time, of places of arrival below `upto`; how many."""
        link = self._writer()
        with link.transaction("drop what is over"):
            dropped = int(
                link.rows(
                    "WITH gone AS (DELETE FROM readings WHERE tag_id = ANY($1::integer[]) AND time_ns < $2 AND n < $3 "
                    "RETURNING 1) SELECT count(*) FROM gone",
                    [list(tag_ids), before_ns, self._order if upto is None else upto],
                )[0][0]
            )
            if dropped:
                count_up(link, "rows", -dropped)
        return dropped

    def late(self, tag_ids: Sequence[int], before_ns: int, upto: int) -> int:
        """None: `lapse` counts them."""
        return 0

    def days_over(self, tag_ids: Sequence[int], before_day: int) -> list[int]:
        """Days before one that these tags have samples on, ascending."""
        rows = self._all(
            f"SELECT DISTINCT {day_sql('time_ns')} FROM readings WHERE tag_id = ANY($1::integer[]) AND time_ns < $2 "
            "ORDER BY 1",
            [list(tag_ids), before_day * DAY_NS],
        )
        return [int(row[0]) for row in rows]

    def lapse(self, day: int, tag_ids: Sequence[int], levels_s: Sequence[int]) -> int:
        """In one transaction: rollups of these levels take the place of the tags' samples of a day. Of a tag that has
        rollups of it already they stay, and samples that came since are dropped; how many those are."""
        link, span = self._writer(), span_of(day * DAY_NS, (day + 1) * DAY_NS)
        bounds = [list(tag_ids), span.start_ns, span.end_ns]
        here = "tag_id = ANY($1::integer[]) AND {0} >= $2 AND {0} < $3"
        with link.transaction("drop what is over"):
            late = int(
                link.rows(
                    "WITH rolled AS (SELECT DISTINCT tag_id FROM rollups WHERE level_s IN (60, 3600) AND "
                    f"{here.format('start_ns')}), gone AS (DELETE FROM readings r USING rolled "
                    "WHERE r.tag_id = rolled.tag_id AND time_ns >= $2 AND time_ns < $3 RETURNING 1) "
                    "SELECT count(*) FROM gone",
                    bounds,
                )[0][0]
            )
            found = link.rows(
                "SELECT tag_id, kind <> 'tag' OR is_corrected FROM tags WHERE tag_id = ANY($1::integer[])", bounds[:1]
            )
            single = {tag_id for tag_id, is_single in found if is_single}
            for level_s in levels_s:
                for chosen in (Chosen([i for i in tag_ids if i not in single]), Chosen(sorted(single), sorted(single))):
                    if chosen.tag_ids:
                        link.run(f"INSERT INTO rollups {rollup_sql(chosen, span, level_s)}", doing="work out rollups")
            gone = f"DELETE FROM readings WHERE {here.format('time_ns')} RETURNING 1"
            dropped = int(link.rows(f"WITH gone AS ({gone}) SELECT count(*) FROM gone", bounds)[0][0])
            count_up(link, "rows", -dropped - late)
            if late:
                count_up(link, "expired", late)
            until_ns = span.end_ns if self.rolled_until_ns is None else max(self.rolled_until_ns, span.end_ns)
            if levels_s:
                link.run_each(_SET_COUNTER, [(ROLLED_UNTIL, until_ns)])
        if levels_s:
            self.rolled_until_ns = until_ns
        return late

    def closed(self, pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
        """Of tags and days those that have rollups."""
        first_ns = min((day * DAY_NS for _, day in pairs), default=0)
        if self.rolled_until_ns is None or first_ns >= self.rolled_until_ns:
            return set()
        found = self._all(
            "SELECT w.tag_id, w.day FROM unnest($1::integer[], $2::bigint[]) AS w(tag_id, day) WHERE EXISTS "
            "(SELECT 1 FROM rollups r WHERE r.tag_id = w.tag_id AND r.level_s IN (60, 3600) "
            f"AND r.start_ns >= w.day * {DAY_NS} AND r.start_ns < (w.day + 1) * {DAY_NS})",
            [[tag_id for tag_id, _ in pairs], [day for _, day in pairs]],
        )
        return {(int(tag_id), int(day)) for tag_id, day in found}

    def drop_rollups(self, level_s: int, tag_ids: Sequence[int], before_ns: int) -> None:
        """Drop those of a level before a time."""
        self._writer().run(
            "DELETE FROM rollups WHERE tag_id = ANY($1::integer[]) AND level_s = $2::integer AND start_ns < $3",
            [list(tag_ids), level_s, before_ns],
        )

    def drop_events(self, before_ns: int) -> None:
        """Drop all events before a time."""
        self._writer().run("DELETE FROM events WHERE time_ns < $1", [before_ns])

    def _all(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._writer().rows(sql, parameters)


_SET_COUNTER = "INSERT INTO counters VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


def count_up(link: PostgresLink, name: str, count: int) -> None:
    """Add to a counter, inside a transaction."""
    link.run(
        "INSERT INTO counters AS c VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = c.value + excluded.value",
        [name, count],
    )


def _write_position(link: PostgresLink, position: Position) -> None:
    link.run(
        "INSERT INTO sink_pos VALUES ($1, $2, $3, $4) ON CONFLICT (stream, generation) DO UPDATE "
        "SET last_seq = excluded.last_seq, last_stored_ns = excluded.last_stored_ns",
        [position.stream, position.generation, position.last_seq, position.last_stored_ns],
    )


def load_last(link: PostgresLink) -> list[LastRow]:
    """The newest sample of each tag. Raises HistoryStoreError."""
    table = unescaped(
        link.ask(
            "SELECT r.* FROM tags t CROSS JOIN LATERAL (SELECT tag_id, time_ns, kind, value, whole, text, quality "
            "FROM readings WHERE tag_id = t.tag_id ORDER BY time_ns DESC, n DESC LIMIT 1) r"
        )
    )
    return [LastRow(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def store_tags(link: PostgresLink, tags: Sequence[TagEntry]) -> None:
    """New and changed entries, inside a transaction. Raises HistoryStoreError."""
    import pyarrow as pa

    if tags:
        link.run("DELETE FROM tags WHERE tag_id = ANY($1::integer[])", [[t.tag_id for t in tags]])
        link.insert(
            "tags",
            pa.table(
                {
                    "tag_id": pa.array([t.tag_id for t in tags], pa.int32()),
                    "path": pa.array([plain(t.path) for t in tags], pa.string()),
                    "description": pa.array([plain(t.description) for t in tags], pa.string()),
                    "kind": pa.array([t.kind for t in tags], pa.string()),
                    "is_corrected": pa.array([t.is_corrected for t in tags]),
                }
            ),
        )


def _insert_beside(link: PostgresLink, batch: Commit) -> None:

    stream, generation = batch.position.stream, batch.position.generation
    store_tags(link, batch.tags)
    ledger = batch.ledger or {}
    link.run_each(
        "DELETE FROM ledger_state WHERE stream = $1 AND origin = $2", [(stream, plain(origin)) for origin in ledger]
    )
    link.run_each(
        "INSERT INTO ledger_state VALUES ($1, $2, $3)",
        [(stream, plain(origin), state) for origin, state in ledger.items() if state is not None],
    )
    link.run_each(
        "INSERT INTO stream_gaps VALUES ($1, $2, $3, $4, $5)",
        [(stream, generation, first, last, batch.now_ns) for first, last in batch.gaps],
    )
    link.run_each(
        "INSERT INTO dead_letters VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [
            (d.source, d.payload, plain(d.reason), d.code, plain(d.subject), plain(d.content_type), d.time_ns)
            for d in batch.bad
        ],
    )


def _readings(rows: Rows, first_order: int) -> pa.Table:
    import pyarrow as pa

    table = _escaped(rows).arrow(first_order)
    types = {"tag_id": pa.int32(), "ts": pa.int64(), "kind": pa.int16(), "quality": pa.int64()}
    columns = {name: table.column(name).cast(types.get(name, table.column(name).type)) for name in table.column_names}
    return pa.table(columns).rename_columns(["time_ns" if name == "ts" else name for name in columns])


def _events(events: Sequence[EventRow], first_order: int) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {
        "tag_id": pa.array([e.tag_id for e in events], pa.int32()),
        "time_ns": pa.array([e.time_ns for e in events], pa.int64()),
        "n": pa.array(range(first_order, first_order + len(events)), pa.int64()),
    }
    for name in ("id", "source", "type", "subject", "content_type", "data", "extensions"):
        columns[name] = pa.array([plain(getattr(e, name)) for e in events], pa.string())
    return pa.table(columns)


def plain(text: str | None) -> str | None:
    """Without NUL characters, which text of PostgreSQL cannot hold; refused, they would hold the stream for ever."""
    return text if text is None else text.replace("\x00", _NUL_MARK)


def _escaped(rows: Rows) -> Rows:
    """Text with NUL characters as JSON, under a kind of its own."""
    marked = [i for i, text in rows.text.items() if "\x00" in text]
    if not marked:
        return rows
    kind = rows.kind.copy()
    kind[marked] = KIND_ESCAPED
    return replace(rows, kind=kind, text={**rows.text, **{i: json.dumps(rows.text[i]) for i in marked}})


def unescaped(table: pa.Table) -> pa.Table:
    """What `_escaped` did, undone in an answer."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_marked = pc.equal(table.column("kind"), KIND_ESCAPED)
    if not pc.any(is_marked).as_py():
        return table
    marks, texts = is_marked.to_pylist(), table.column("text").to_pylist()
    text = pa.array([json.loads(t) if m else t for m, t in zip(marks, texts, strict=True)], pa.string())
    kind = pc.if_else(is_marked, pa.scalar(KIND_TEXT, pa.int16()), table.column("kind"))
    table = table.set_column(table.schema.get_field_index("kind"), "kind", kind)
    return table.set_column(table.schema.get_field_index("text"), "text", text)


def _answers(link: PostgresLink) -> bool:
    try:
        link.rows("SELECT 1")
    except HistoryStoreError:
        return False
    return True
