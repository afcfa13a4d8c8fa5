"""A history in ClickHouse, which has no transactions: each batch is in it once all the same.

Every row has a place of arrival `n`. Rows of a batch are inserted first, in as many blocks and tables as it takes; then
they are counted; then one block into `state` says that everything below the next `n` counts, with the stream's
position, the counters and the ledger in it. Questions leave out what does not count. A block is there altogether or
not at all, so this is the commit.

Each writer has a number of its own, the upper bits of its `n`. It gets it by CREATE TABLE, which only one succeeds
with, and takes over by one block into `state`: a copy of what it found, and where the writer before it stood. What
that one still stores afterwards, be it an insert that the server was slow with, does not count any more. So a batch
whose answer was lost is not settled but forgotten: the connection is made anew under the next number, and the
stream is read on from where the state stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from millstream.historian._clickhouse_link import (
    EXISTS,
    ClickhouseLink,
    ClickhouseServer,
    identifier,
    is_refused,
    quoted,
)
from millstream.historian._clickhouse_schema import PARTITION_NS, ROLLUPS, SCHEMA, SCHEMA_VERSION
from millstream.historian._clickhouse_state import State, StateRow, as_columns, base64_of
from millstream.historian._dialect_clickhouse import day_sql, rollup_sql
from millstream.historian._dialect_duckdb import Chosen, span_of
from millstream.historian._events import EventRow, events_arrow
from millstream.historian._frozen import Beside
from millstream.historian._last import LastRow, LastValues
from millstream.historian._ports import DeadLetter
from millstream.historian._rows import Rows
from millstream.historian._server import ROLLED_UNTIL, Links
from millstream.historian._store import DAY_NS, Commit, HistoryStoreError, Position
from millstream.historian._tags import TagEntry
from millstream.kernel import ConfigError, FencedError

if TYPE_CHECKING:
    import pyarrow as pa

CLAIMS_MAX = 100  # tries to get a number
LATE_NS = 3600 * 10**9  # six times what an insert may take: then nothing of an earlier writer can still arrive
ROLLED_AT_ONCE = 500  # tags whose rollups one statement works out: a server may be silent for a minute over it
_EXPIRED_UPTO = "expired_upto"  # among the counters: late samples below this place of arrival are counted
_MARKED = ("readings", "rollups", "events", "tags", "stream_gaps", "dead_letters")  # tables whose rows have an `n`


class ClickhouseStore:
    """Blocking. Writers call from one thread; `reading` serves readers of others."""

    def __init__(self, server: ClickhouseServer) -> None:
        self.server = server
        self.last = LastValues()
        self._state = State(0)
        self._links = Links(self.new_link)
        self._is_fenced = False
        self._is_doubtful = False
        self._checkpoint = -1

    @property
    def next_order(self) -> int:
        """The place of arrival of the next row: every row below it that counts is stored."""
        return self._state.order

    @property
    def state(self) -> State:
        """What it stands at; never changed, but replaced."""
        return self._state

    @property
    def rolled_until_ns(self) -> int | None:
        """Days that end here or before it may have rollups in the place of samples; None: none has."""
        return self._state.counters.get(ROLLED_UNTIL)

    def seen(self) -> str:
        """As a condition in SQL: the row counts."""
        return self._state.seen()

    def open(self) -> None:
        """Connect, make the tables when they are not there, and take over as the one that writes; whoever wrote before
        is refused from here on. Raises HistoryStoreError, ConfigError."""
        with self._links.opening(lambda: ClickhouseLink(self.server)) as link:
            self._setup(link)
            self._state = _take_over(link)
            self.last = LastValues(self._load_last(link))
        self._is_fenced, self._is_doubtful = False, False

    def close(self) -> None:
        """Close; a crash instead of it loses nothing."""
        self._links.close()

    def reopen(self) -> None:
        """Close and connect again, and see what is stored. Raises FencedError when another process took over."""
        self._refuse_fenced()
        self.close()
        self.open()

    def _setup(self, link: ClickhouseLink) -> None:
        database = self.server.database
        if not link.rows(f"SELECT 1 FROM system.databases WHERE name = {quoted(database)}"):
            link.run(f"CREATE DATABASE IF NOT EXISTS {identifier(database)}", doing="make its database")
        link.use(database)
        tables = {row[0] for row in link.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")}
        versions = sorted(name for name in tables if name.startswith("schema_version_"))
        if not versions:
            for statement in SCHEMA:
                link.run(statement, doing="make its tables")
        elif versions != [f"schema_version_{SCHEMA_VERSION}"]:
            raise ConfigError(
                "history has another layout",
                where=self.server.place,
                expected=f"version {SCHEMA_VERSION}",
                got=versions[-1].removeprefix("schema_version_"),
                next_step="open it with the version of Millstream that wrote it",
            )
        if "rollups" not in tables:
            link.run(ROLLUPS, doing="make its table of rollups")

    def _refuse_fenced(self) -> None:
        if self._is_fenced:
            raise FencedError(
                "history is open in another process",
                where=self.server.place,
                code="MS-0421",
                next_step="stop that process, or give this one another database, then start it again",
            )

    def _writer(self) -> ClickhouseLink:
        """The writer's connection, made anew when it broke or nobody knows what was stored. Raises HistoryStoreError,
        FencedError."""
        self._refuse_fenced()
        links = self._links
        if links.is_closed:
            raise HistoryStoreError("history is closed", where=self.server.place)
        if links.writer is None or links.writer.is_broken or self._is_doubtful:
            self.reopen()
        assert links.writer is not None
        return links.writer

    def reading(self) -> AbstractContextManager[ClickhouseLink]:
        """A connection of its own for one question. Raises HistoryStoreError."""
        return self._links.reading()

    def new_link(self) -> ClickhouseLink:
        """One to its tables, which whoever asks closes. Raises HistoryStoreError."""
        link = ClickhouseLink(self.server)
        link.use(self.server.database)
        return link

    def commit(self, batch: Commit) -> bool:
        """Store one batch. False when it is stored already (an earlier answer was lost). Raises HistoryStoreError, and
        FencedError when the stream stands elsewhere than the batch begins, or another process writes."""
        link = self._writer()
        if not batch.is_new(self.position(batch.position.stream, batch.position.generation).last_seq):
            return False
        needed = len(batch.rows) + len(batch.events) + 1  # one for what stands beside the rows
        if not self._state.has_room(needed):
            self.reopen()
            link = self._writer()
        with self._settling():
            self._send(link, batch, self._state.order + needed)
            self._commit(link, self._state.after(batch, self._state.order + needed))
        self.last.add(batch.rows)
        return True

    @contextmanager
    def _settling(self) -> Iterator[None]:
        """Until it ends well, nobody knows what is stored."""
        self._is_doubtful = True
        yield
        self._is_doubtful = False

    def _send(self, link: ClickhouseLink, batch: Commit, end: int) -> None:
        """All but the state. Raises HistoryStoreError, FencedError."""
        first, beside, token = self._state.order, end - 1, str(end)
        events_first = first + len(batch.rows)
        link.insert("readings", _readings(batch.rows, first), token)
        link.insert("events", _events(batch.events, events_first), token)
        link.insert("tags", _tags(batch.tags, beside), token)
        at = batch.position
        gaps = [(at.stream, at.generation, first_seq, last_seq, batch.now_ns) for first_seq, last_seq in batch.gaps]
        link.insert("stream_gaps", _gaps(gaps, beside), token)
        link.insert("dead_letters", _letters(batch.bad, beside), token)
        self._check(link, {"readings": (first, events_first), "events": (events_first, beside), "tags": (beside, end)},
                    len(batch.tags))  # fmt: skip

    def _check(self, link: ClickhouseLink, places: dict[str, tuple[int, int]], tags: int) -> None:
        """That all that was sent is there, and once: an insert may have been sent twice, or taken for one that was; and
        that nobody took over. Raises HistoryStoreError, FencedError."""
        counts = ", ".join(
            f"(SELECT count() FROM {table} WHERE n >= {first:d} AND n < {end:d})"
            for table, (first, end) in places.items()
        )
        writer, *found = link.rows(f"SELECT (SELECT max(writer) FROM state), {counts}")[0]
        self._refuse_other(writer)
        expected = [end - first for first, end in places.values()]
        expected[-1] = tags
        if found != expected:
            raise HistoryStoreError(
                "history's server stored other rows than it was sent", where=self.server.place, expected=str(expected),
                got=str(found),
            )  # fmt: skip

    def _refuse_other(self, writer: int) -> None:
        if writer != self._state.writer:
            self._is_fenced = True
            self._refuse_fenced()

    def _check_writer(self, link: ClickhouseLink) -> None:
        """That nobody took over. Raises HistoryStoreError, FencedError."""
        self._refuse_other(int(link.rows("SELECT max(writer) FROM state")[0][0]))

    def _commit(self, link: ClickhouseLink, after: tuple[State, list[StateRow]]) -> None:
        state, rows = after
        link.insert("state", as_columns(state.writer, rows), str(state.order))
        self._state = state

    @contextmanager
    def filling(self) -> Iterator[tuple[ClickhouseLink, int]]:
        """To store what `commit_filled` makes count: the connection, and the first place of arrival."""
        link = self._writer()
        with self._settling():
            yield link, self._state.order

    def put_beside(self, link: ClickhouseLink, beside: Beside, n: int) -> None:
        """Tags, gaps and dead letters of a whole history. Raises HistoryStoreError."""
        link.insert("tags", _tags(beside.tags, n), str(n))
        link.insert("stream_gaps", _gaps(beside.gaps, n), str(n))
        link.insert("dead_letters", _letters(beside.letters, n), str(n))

    def commit_filled(self, link: ClickhouseLink, beside: Beside, order: int) -> None:
        """All that is below `order` counts. Raises HistoryStoreError."""
        self._commit(link, self._state.filled(beside, order))

    def position(self, stream: str, generation: int) -> Position:
        """How far a stream is stored; sequence 0 when nothing is."""
        self._writer()
        return self._state.positions.get((stream, generation), Position(stream, generation, 0))

    def set_position(self, position: Position) -> None:
        """Put a stream back: it was rolled back below what is stored here."""
        link = self._writer()
        with self._settling():
            self._commit(link, self._state.moved(position))

    def tags(self) -> list[TagEntry]:
        """The whole dictionary."""
        rows = self._all(
            f"SELECT tag_id, path, description, kind, is_corrected FROM tags WHERE {self.seen()} "
            "ORDER BY tag_id, n DESC LIMIT 1 BY tag_id"
        )
        return [TagEntry(*row) for row in rows]

    def ledger(self, stream: str) -> dict[str, bytes]:
        """State of each origin that came through `stream`."""
        rows = self._all(
            "SELECT part, argMax(base64Encode(data), n) AS found, argMax(value, n) AS is_there FROM state "
            f"WHERE writer = {self._state.writer:d} AND kind = 'ledger' AND name = {quoted(stream)} GROUP BY part"
        )
        return {part: base64_of(data) for part, data, is_there in rows if is_there}

    def counters(self) -> dict[str, int]:
        """Counters since the history began."""
        self._writer()
        return dict(self._state.counters)

    def gaps_count(self) -> int:
        """Messages that were gone from a stream before they were read."""
        return int(
            self._all(
                "SELECT toInt64(sum(last_seq - first_seq + 1)) FROM (SELECT DISTINCT stream, generation, first_seq, "
                f"last_seq FROM stream_gaps WHERE {self.seen()})"
            )[0][0]
        )

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """The oldest that wait for their stream."""
        rows = self._all(
            "SELECT base64Encode(payload) AS raw, reason, code, source, subject, content_type, time_ns "
            f"FROM dead_letters WHERE {self.seen()} ORDER BY time_ns, source LIMIT 1 BY source LIMIT {limit:d}"
        )
        return [DeadLetter(base64_of(raw), *rest) for raw, *rest in rows]

    def dead_letters_count(self) -> int:
        """How many wait."""
        return int(self._all(f"SELECT uniqExact(source) FROM dead_letters WHERE {self.seen()}")[0][0])

    def drop_dead_letters(self, sources: Sequence[str]) -> None:
        """These are in their stream now."""
        if sources:
            listed = ", ".join(map(quoted, sources))
            self._writer().run(
                f"ALTER TABLE dead_letters DELETE WHERE source IN ({listed}) SETTINGS mutations_sync = 1"
            )

    def save_last(self) -> None:
        """Checkpoint the last values: rows that arrive later are read again at the next start."""
        link, upto, rows = self._writer(), self._state.order, self.last.rows()
        if not rows or upto == self._checkpoint:
            return
        link.insert("last_value", _last_columns(rows, upto), str(upto))
        for (old,) in link.rows(f"SELECT DISTINCT upto FROM last_value WHERE upto != {upto:d}"):
            link.run(f"ALTER TABLE last_value DROP PARTITION {old:d}")
        self._checkpoint = upto

    def _load_last(self, link: ClickhouseLink) -> list[LastRow]:
        """From the newest checkpoint, and the rows since."""
        columns = "tag_id, time_ns, kind, value, whole, text, quality"
        self._checkpoint = int(link.rows("SELECT max(upto) FROM last_value")[0][0])
        table = link.ask(
            f"SELECT {columns} FROM (SELECT {columns}, toInt64(-1) AS n FROM last_value "
            f"WHERE upto = {self._checkpoint:d} UNION ALL SELECT {columns}, n FROM readings "
            f"WHERE n >= {self._checkpoint:d} AND {self.seen()}) "
            "ORDER BY tag_id, time_ns DESC, n DESC LIMIT 1 BY tag_id"
        )
        return [LastRow(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]

    def rows_count(self) -> int:
        """All stored samples."""
        void = self._state.void()
        return int(self._all(f"SELECT toInt64(count()) FROM readings{f' WHERE NOT {void}' if void else ''}")[0][0])

    def oldest_ns(self) -> int | None:
        """From when samples are held."""
        count, oldest = self._all("SELECT toInt64(count()), min(time_ns) FROM readings")[0]
        return int(oldest) if count else None

    def bytes_on_disk(self) -> int:
        """As the server says."""
        found = self._all(
            "SELECT toInt64(sum(bytes_on_disk)) FROM system.parts WHERE active AND database = currentDatabase()"
        )
        return int(found[0][0])

    def days_over(self, tag_ids: Sequence[int], before_day: int) -> list[int]:
        """Days before one on which these tags have samples that are not rolled up, ascending."""
        of_tags, before_ns = f"tag_id IN ({_listed(tag_ids)})", before_day * DAY_NS
        rows = self._all(
            f"SELECT DISTINCT {day_sql('time_ns')} AS day FROM readings WHERE {of_tags} AND time_ns < {before_ns:d} "
            f"AND {self.seen()} AND (tag_id, {day_sql('time_ns')}) NOT IN (SELECT tag_id, {day_sql('start_ns')} "
            f"FROM rollups WHERE {of_tags} AND start_ns < {before_ns:d} AND {self.seen()}) ORDER BY day"
        )
        return [int(row[0]) for row in rows]

    def lapse(self, day: int, tag_ids: Sequence[int], levels_s: Sequence[int]) -> int:
        """Rollups of these levels take the place of the tags' samples of a day, which `drop` takes out; where there
        are some already they stay. `drop` also says what came late."""
        if not levels_s:
            return 0
        link, span, seen, n = self._writer(), span_of(day * DAY_NS, (day + 1) * DAY_NS), self.seen(), self._state.order
        rolled = {
            row[0]
            for row in link.rows(
                f"SELECT DISTINCT tag_id FROM rollups WHERE tag_id IN ({_listed(tag_ids)}) "
                f"AND start_ns >= {span.start_ns:d} AND start_ns < {span.end_ns:d} AND {seen}"
            )
        }
        left = [tag_id for tag_id in tag_ids if tag_id not in rolled]
        single = {entry.tag_id for entry in self.tags() if entry.is_single}
        with self._settling():
            for at in range(0, len(left), ROLLED_AT_ONCE):
                some = left[at : at + ROLLED_AT_ONCE]
                chosen = Chosen(some, [tag_id for tag_id in some if tag_id in single])
                for level_s in levels_s:
                    select = rollup_sql(chosen, span, level_s, seen, n)
                    link.run(f"INSERT INTO rollups {select}", doing="work out rollups")
            until_ns = max(span.end_ns, self.rolled_until_ns or span.end_ns)
            self._commit(link, self._state.counted({ROLLED_UNTIL: until_ns}))
        self._check_writer(link)  # else it does not count, and what it stands for must not be dropped
        return 0

    def drop(self, tag_ids: Sequence[int], before_ns: int, *, upto: int | None = None) -> int:
        """Drop the samples of these tags before a time, of places of arrival below `upto`; how many. The server takes
        them out by and by."""
        end = self._state.order if upto is None else upto
        where = f"time_ns < {before_ns:d} AND n < {end:d} AND tag_id IN ({_listed(tag_ids)})"
        return self._delete("readings", where) if tag_ids else 0

    def late(self, tag_ids: Sequence[int], before_ns: int, upto: int) -> int:
        """Count samples before a time that came after their day was rolled up, each once; how many are new. They do not
        count for windows, and are dropped with what is over."""
        if not tag_ids or self.rolled_until_ns is None:
            return 0
        seen, where = self.seen(), f"tag_id IN ({_listed(tag_ids)}) AND %s < {before_ns:d}"
        told = self._state.counters.get(_EXPIRED_UPTO, 0)
        late = int(
            self._all(
                f"SELECT toInt64(count()) FROM (SELECT tag_id, {day_sql('time_ns')} AS day, n AS came FROM readings "
                f"WHERE {where % 'time_ns'} AND n >= {told:d} AND n < {upto:d} AND {seen}) AS r INNER JOIN "
                f"(SELECT tag_id, {day_sql('start_ns')} AS day, max(n) AS at FROM rollups "
                f"WHERE {where % 'start_ns'} AND {seen} GROUP BY tag_id, day) AS u "
                "ON r.tag_id = u.tag_id AND r.day = u.day WHERE r.came > u.at"
            )[0][0]
        )
        if late:
            counters = {"expired": self._state.counters.get("expired", 0) + late, _EXPIRED_UPTO: upto}
            with self._settling():
                self._commit(self._writer(), self._state.counted(counters))
        return late

    def closed(self, pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
        """Of tags and days those that have rollups."""
        days = [day for _, day in pairs]
        if self.rolled_until_ns is None or not days or min(days) * DAY_NS >= self.rolled_until_ns:
            return set()
        start_ns, end_ns = min(days) * DAY_NS, (max(days) + 1) * DAY_NS
        found = self._all(
            f"SELECT DISTINCT tag_id, {day_sql('start_ns')} AS day FROM rollups "
            f"WHERE tag_id IN ({_listed(sorted({tag_id for tag_id, _ in pairs}))}) "
            f"AND start_ns >= {start_ns:d} AND start_ns < {end_ns:d} AND {self.seen()}"
        )
        return {(int(tag_id), int(day)) for tag_id, day in found}.intersection(pairs)

    def drop_rollups(self, level_s: int, tag_ids: Sequence[int], before_ns: int) -> None:
        """Drop those of a level before a time; the server takes them out by and by."""
        if tag_ids:
            where = f"level_s = {level_s:d} AND start_ns < {before_ns:d} AND tag_id IN ({_listed(tag_ids)})"
            self._delete("rollups", where)

    def drop_whole(self, table: str, before_ns: int, upto: int = 2**63 - 1) -> None:
        """Drop what lies before a time, of all tags, as far as whole partitions go that nothing came into from the
        place of arrival `upto` on: that costs nothing."""
        link = self._writer()
        found = link.rows(
            f"SELECT DISTINCT partition, partition_id FROM system.parts WHERE active AND table = '{table}' "
            "AND database = currentDatabase() AND toInt64(extract(partition, '(-?[0-9]+)[)]?$')) "
            f"< {before_ns // PARTITION_NS:d}"
        )
        newer = {row[0] for row in link.rows(f"SELECT DISTINCT _partition_id FROM {table} WHERE n >= {upto:d}")}
        for partition, id in found:
            if id not in newer:
                link.run(f"ALTER TABLE {table} DROP PARTITION {partition}", doing="drop what is over")

    def drop_events(self, before_ns: int) -> None:
        """Drop all events before a time."""
        self._delete("events", f"time_ns < {before_ns:d}")

    def sweep(self, now_ns: int) -> None:
        """Take out what does not count and cannot come again."""
        link = self._writer()
        for void in [void for void in self._state.voids if void.since_ns < now_ns - LATE_NS]:
            where = f"n >= {void.first:d} AND n < {void.end:d}"
            if not sum(self._delete(table, where) for table in _MARKED):
                with self._settling():
                    self._commit(link, self._state.without(void))

    def _delete(self, table: str, where: str) -> int:
        """How many rows there are to delete; the server is told unless it is at it already."""
        link = self._writer()
        count = int(link.rows(f"SELECT toInt64(count()) FROM {table} WHERE {where}")[0][0])
        at_it = "SELECT 1 FROM system.mutations WHERE database = currentDatabase() AND NOT is_done AND table = "
        if count and not link.rows(f"{at_it}'{table}' LIMIT 1"):
            link.run(f"ALTER TABLE {table} DELETE WHERE {where}", doing="drop what is over")
        return count

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        return self._writer().rows(sql)


def _listed(tag_ids: Sequence[int]) -> str:
    return ", ".join(str(int(i)) for i in tag_ids)


def _take_over(link: ClickhouseLink) -> State:
    """The next writer's state: what the one before stands at, as its own. Raises HistoryStoreError."""
    for _ in range(CLAIMS_MAX):
        found = link.rows(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, 'writer_')"
        )
        claimed = [int(row[0].removeprefix("writer_")) for row in found]
        before = int(link.rows("SELECT max(writer) FROM state")[0][0])
        writer = max([before, *claimed]) + 1
        try:
            link.run(f"CREATE TABLE writer_{writer} (nothing UInt8) ENGINE = Memory", doing="take over")
        except HistoryStoreError as error:
            if is_refused(error, EXISTS):
                continue  # another one was faster
            raise
        if int(link.rows("SELECT max(writer) FROM state")[0][0]) < writer:
            break
    else:
        raise HistoryStoreError("history cannot be taken over: others are always faster", expected="one process")
    now_ns = int(link.rows("SELECT toUnixTimestamp64Nano(now64(9))")[0][0])
    rows = link.rows(
        "SELECT kind, name, part, number, max(n) AS at, argMax(value, n) AS newest, argMax(extra, n) AS second, "
        f"argMax(base64Encode(data), n) AS raw FROM state WHERE writer = {before:d} GROUP BY kind, name, part, number"
    )
    state, copied = State.taken_over(writer, before, [StateRow.of(row) for row in rows], now_ns)
    link.insert("state", as_columns(writer, copied), str(state.order))
    for number in claimed:
        link.run(f"DROP TABLE IF EXISTS writer_{number:d}")
    for (old,) in link.rows(f"SELECT DISTINCT writer FROM state WHERE writer < {writer:d}"):
        link.run(f"ALTER TABLE state DROP PARTITION {old:d}")
    return state


def _readings(rows: Rows, first_order: int) -> dict[str, Any]:
    return _timed(rows.arrow(first_order)) if len(rows) else {}


def _events(events: Sequence[EventRow], first_order: int) -> dict[str, Any]:
    return _timed(events_arrow(events, first_order)) if events else {}


def _timed(table: pa.Table) -> dict[str, Any]:
    """Columns, the time as a number."""
    import pyarrow as pa

    columns = dict(zip(table.column_names, table.columns, strict=True))
    return {"time_ns": columns.pop("ts").cast(pa.int64()), **columns}


def _tags(tags: Sequence[TagEntry], n: int) -> dict[str, Any]:
    import pyarrow as pa

    return {
        "tag_id": pa.array([t.tag_id for t in tags], pa.uint32()),
        "n": pa.array([n] * len(tags), pa.int64()),
        "path": pa.array([t.path for t in tags], pa.string()),
        "description": pa.array([t.description for t in tags], pa.string()),
        "kind": pa.array([t.kind for t in tags], pa.string()),
        "is_corrected": pa.array([t.is_corrected for t in tags], pa.bool_()),
    }


def _gaps(gaps: Sequence[tuple[str, int, int, int, int]], n: int) -> dict[str, Any]:
    import pyarrow as pa

    names = ("stream", "generation", "first_seq", "last_seq", "noticed_ns")
    types = (pa.string(), *[pa.int64()] * 4)
    columns = {name: pa.array([gap[i] for gap in gaps], types[i]) for i, name in enumerate(names)}
    return {"n": pa.array([n] * len(gaps), pa.int64()), **columns}


def _letters(letters: Sequence[DeadLetter], n: int) -> dict[str, Any]:
    import pyarrow as pa

    texts = ("source", "reason", "code", "subject", "content_type")
    return {
        "n": pa.array([n] * len(letters), pa.int64()),
        "payload": pa.array([d.payload for d in letters], pa.binary()),
        "time_ns": pa.array([d.time_ns for d in letters], pa.int64()),
        **{name: pa.array([getattr(d, name) for d in letters], pa.string()) for name in texts},
    }


def _last_columns(rows: Sequence[LastRow], upto: int) -> dict[str, Any]:
    import pyarrow as pa

    types = {"tag_id": pa.uint32(), "time_ns": pa.int64(), "kind": pa.uint8(), "value": pa.float64(),
             "whole": pa.int64(), "text": pa.string(), "quality": pa.uint32()}  # fmt: skip
    found = {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in types.items()}
    return {"upto": pa.array([upto] * len(rows), pa.int64()), **found}
