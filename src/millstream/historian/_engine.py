"""Answers queries: resolves tags, takes one consistent view of hot rows and sealed days, renders, runs."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from millstream.historian._answer import Naming, aggregates_table, events_table, names_table, samples_table
from millstream.historian._dialect import Dialect
from millstream.historian._dialect_duckdb import (
    Chosen,
    Segment,
    Sql,
    is_lapsed,
    is_rollable,
    render_asof,
    render_count,
    render_events,
    render_range,
    render_window,
)
from millstream.historian._last import LastValues
from millstream.historian._query import TAGS_COUNT_MAX, AsOf, Count, Events, Last, Names, Query, Range, Window, refuse
from millstream.historian._seal import closed_tags
from millstream.historian._store import DAY_NS, HistoryStore, HistoryStoreError
from millstream.historian._tags import TagDictionary, TagEntry

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_DUCKDB = Dialect(
    lambda query, chosen, _: render_events(query, chosen), render_range, render_asof, render_count, render_window
)


class QueryStopped(HistoryStoreError):
    """A query took longer than it may, or whoever asked went away."""

    default_code = "MS-0422"


class Interruptible(Protocol):
    """What runs a query, of either engine."""

    def interrupt(self) -> None:
        """End it, from another thread."""
        ...


AnyCursor = TypeVar("AnyCursor", bound=Interruptible)


class Running:
    """One query under way; `stop` ends it from another thread, also before it has begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: Interruptible | None = None
        self.is_stopped = False

    def stop(self) -> None:
        """End it; the thread that runs it raises within moments."""
        with self._lock:
            self.is_stopped = True
            if self._cursor is not None:
                self._cursor.interrupt()

    @contextmanager
    def holding(self, cursor: AnyCursor) -> Iterator[AnyCursor]:
        """While `cursor` may be interrupted. Raises QueryStopped when it was stopped before."""
        with self._lock:
            if self.is_stopped:
                raise QueryStopped("query was stopped")
            self._cursor = cursor
        try:
            yield cursor
        finally:
            with self._lock:
                self._cursor = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a query is about: numbers, their kind, the paths by number; for a question for names the entries."""

    chosen: Chosen
    kind: str
    paths: Mapping[int, str]
    entries: tuple[TagEntry, ...] = ()


class HasLast(Protocol):
    """A store, as far as the newest sample of each tag goes."""

    last: LastValues


class Questions(ABC):
    """Blocking parts run on query threads; `plan` runs on the event loop, which owns the dictionary."""

    def __init__(self, store: HasLast, tags: TagDictionary) -> None:
        self._newest = store
        self._tags = tags

    @abstractmethod
    def _raw(self, query: Query, plan: Plan, running: Running) -> pa.Table:
        """The raw columns of the engine's dialect. Raises HistoryStoreError, QueryStopped."""

    def plan(self, query: Query) -> Plan:
        """What the query is about. Raises NotFoundError, DecodeError."""
        if isinstance(query, Names):
            found = {e.tag_id: e for pattern in query.tags for e in self._tags.find(pattern, query.data_kind)}
            entries = sorted(found.values(), key=lambda e: (e.path, e.kind))
            return Plan(Chosen(list(found)), "", {}, tuple(replace(entry) for entry in entries))
        tag_ids = self._tags.resolve(query.tags, query.data_kind)
        if len(tag_ids) > TAGS_COUNT_MAX:
            raise refuse(
                "query names too many tags", expected=f"at most {TAGS_COUNT_MAX}", got=str(len(tag_ids)), where="tags"
            )
        reference = None
        if isinstance(query, AsOf) and query.reference is not None:
            reference = self._tags.resolve([query.reference], query.data_kind)[0]
        paths = {tag_id: self._tags.path(tag_id) for tag_id in tag_ids}
        if isinstance(query, Range | Count) and query.as_recorded:
            return Plan(Chosen(tag_ids), query.data_kind, paths)
        single_ids = [tag_id for tag_id in tag_ids if self._tags.entry(tag_id).is_single]
        return Plan(Chosen(tag_ids, single_ids, reference_id=reference), query.data_kind, paths)

    def answer(self, query: Query, plan: Plan, running: Running | None = None) -> pa.Table:
        """The answer as Arrow (see `_answer`). Raises HistoryStoreError, and QueryStopped once `running` is stopped."""
        running = running or Running()
        names = Naming(plan.paths, plan.kind)
        if isinstance(query, Names):
            return names_table(plan.entries)
        if isinstance(query, Last):
            return self._last(plan.chosen.tag_ids, names)
        raw = self._raw(query, plan, running)
        if isinstance(query, Events):
            return events_table(raw, names, query.limit)
        if isinstance(query, Range | AsOf):
            return samples_table(raw, names, query.limit, is_typed=isinstance(query, Range) and query.layout == "typed")
        return aggregates_table(raw, names, None if isinstance(query, Count) else query.limit)

    def _last(self, tag_ids: Sequence[int], names: Naming) -> pa.Table:
        import pyarrow as pa

        raw = self._newest.last.arrow(tag_ids)
        at = raw.schema.get_field_index("time_ns")
        raw = raw.set_column(at, "ts", raw.column(at).cast(pa.timestamp("ns")))
        return samples_table(raw, names, max(1, len(raw)))


class QueryEngine(Questions):
    """In DuckDB: hot rows and sealed days, in one consistent view."""

    def __init__(self, store: HistoryStore, tags: TagDictionary) -> None:
        super().__init__(store, tags)
        self._store = store
        self._numbers = itertools.count(1)
        self._active: set[int] = set()
        self._started = 0
        self._doomed: list[tuple[int, tuple[str, ...]]] = []
        self._lock = threading.Lock()

    def _raw(self, query: Query, plan: Plan, running: Running) -> pa.Table:
        with self._reading(), self._store.faults("answer"):
            cursor = self._store.cursor()
            try:
                with running.holding(cursor):
                    cursor.execute("BEGIN")  # hot rows and the list of sealed days must be of one moment
                    segments, chosen = self._segments(cursor), plan.chosen
                    if isinstance(query, Window):
                        chosen = _with_raw_days(cursor, chosen, segments)
                        chosen = _without_late(cursor, chosen, segments) if is_rollable(query) else chosen
                    return _run(
                        cursor, self._render(query, chosen, segments), is_plain=isinstance(query, Window | Count)
                    )
            finally:
                cursor.close()

    def _segments(self, cursor: duckdb.DuckDBPyConnection) -> list[Segment]:
        folder = self._store.folder
        rows = cursor.execute("SELECT day, file, rollup FROM segments ORDER BY day").fetchall()
        return [
            Segment(day, str(folder / file) if file else None, str(folder / rollup) if rollup else None)
            for day, file, rollup in rows
        ]

    @staticmethod
    def _render(query: Query, chosen: Chosen, segments: Sequence[Segment]) -> Sql:
        if not chosen.tag_ids:
            chosen = Chosen([2**32 - 1])  # a pattern that matches nothing: a number that no tag has
        return _DUCKDB.render(query, chosen, segments)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            number = self._started = next(self._numbers)
            self._active.add(number)
        try:
            yield
        finally:
            with self._lock:
                self._active.discard(number)

    def doom(self, names: Sequence[str]) -> None:
        """These files are no longer named; queries that began before may still read them."""
        if names:
            with self._lock:
                self._doomed.append((self._started, tuple(names)))

    def removable(self) -> list[str]:
        """Doomed files that no query can read any more; the caller removes them."""
        with self._lock:
            oldest = min(self._active, default=self._started + 1)
            free = [name for number, names in self._doomed if number < oldest for name in names]
            self._doomed = [(number, names) for number, names in self._doomed if number >= oldest]
            return free


def _with_raw_days(cursor: duckdb.DuckDBPyConnection, chosen: Chosen, segments: Sequence[Segment]) -> Chosen:
    """Days with samples of tags that have one value a time: hot ones, and those of sealed files; only one that was
    written anew by retention can lack them."""
    if not chosen.single_ids:
        return chosen
    ids = list(chosen.single_ids)
    rows = cursor.execute(
        "SELECT DISTINCT epoch_ns(ts) // ? - (epoch_ns(ts) % ? < 0)::BIGINT FROM readings "
        "WHERE tag_id IN (SELECT unnest(?::UINTEGER[]))",
        [DAY_NS, DAY_NS, ids],
    ).fetchall()
    days = {row[0] for row in rows}
    whole, single = set(), set(ids)
    for segment in segments:
        if segment.file is not None and not is_lapsed(segment.file):
            days.add(segment.day)
        elif segment.file is not None:
            found = cursor.execute(
                "SELECT DISTINCT tag_id FROM read_parquet(?) WHERE tag_id IN (SELECT unnest(?::UINTEGER[]))",
                [segment.file, list(chosen.tag_ids)],
            ).fetchall()
            has_samples = {row[0] for row in found}
            days |= {segment.day} if has_samples & single else set()
            whole |= {segment.day} if has_samples.issuperset(chosen.tag_ids) else set()
    return replace(chosen, raw_days=frozenset(days), whole_days=frozenset(whole))


def _without_late(cursor: duckdb.DuckDBPyConnection, chosen: Chosen, segments: Sequence[Segment]) -> Chosen:
    """What came for a rollup that stays as it was made, until it is dropped. Nearly always there is nothing."""
    parts = {segment.day: segment for segment in segments if segment.is_part}
    if not parts:
        return chosen
    rows = cursor.execute(
        "SELECT DISTINCT epoch_ns(ts) // ? - (epoch_ns(ts) % ? < 0)::BIGINT, tag_id FROM readings "
        "WHERE ts < make_timestamp_ns(?) AND tag_id IN (SELECT unnest(?::UINTEGER[]))",
        [DAY_NS, DAY_NS, (max(parts) + 1) * DAY_NS, list(chosen.tag_ids)],
    ).fetchall()
    hot: dict[int, set[int]] = {}
    for day, tag_id in rows:
        hot.setdefault(day, set()).add(tag_id)
    late = {
        (tag_id, day) for day in parts.keys() & hot.keys() for tag_id in closed_tags(cursor, parts[day], hot[day])
    }  # fmt: skip
    return replace(chosen, late=frozenset(late))


def _run(cursor: duckdb.DuckDBPyConnection, sql: Sql, *, is_plain: bool) -> pa.Table:
    """`is_plain`: all columns are numbers."""
    if is_plain:
        # A relation is bound twice, which reads the footers of all files twice: for a day's means half of the work.
        return _numbers_table(cursor.execute(sql.text, sql.parameters).fetchnumpy())
    # `sql()` with bound values gives a relation, whose Arrow form needs no extra copy of what may be many rows.
    return cursor.sql(sql.text, params=sql.parameters).to_arrow_table()


def _numbers_table(columns: Mapping[str, Any]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    return pa.table(
        {name: pa.array(np.ma.getdata(column), mask=np.ma.getmaskarray(column)) for name, column in columns.items()}
    )
