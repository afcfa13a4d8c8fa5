"""Questions to a history in PostgreSQL, and its upkeep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream.historian._dialect_duckdb import Chosen, Sql
from millstream.historian._dialect_postgres import (
    render_asof,
    render_count,
    render_events,
    render_range,
    render_window,
)
from millstream.historian._engine import Plan, QueryStopped, Questions, Running
from millstream.historian._keep import NEVER, KeepBook
from millstream.historian._postgres_store import PostgresStore, unescaped
from millstream.historian._query import AsOf, Count, Events, Query, Range, Window
from millstream.historian._store import DAY_NS, HistoryStoreError
from millstream.historian._tags import TagDictionary
from millstream.historian._upkeep import OnWriter
from millstream.kernel import Clock

if TYPE_CHECKING:
    import pyarrow as pa

_NO_TAG = Chosen([2**31 - 1])  # a pattern that matches nothing: a number that no tag has


class PostgresQuestions(Questions):
    """Each answer is one statement, and so of one moment."""

    def __init__(self, store: PostgresStore, tags: TagDictionary) -> None:
        super().__init__(store, tags)
        self._server = store

    def _raw(self, query: Query, plan: Plan, running: Running) -> pa.Table:
        sql = _render(query, plan.chosen if plan.chosen.tag_ids else _NO_TAG)
        with self._server.reading() as link, running.holding(link):
            try:
                table = link.ask(sql.text, sql.parameters, doing="answer")
            except HistoryStoreError as error:
                if running.is_stopped:
                    raise QueryStopped("query was stopped") from error
                raise
        return unescaped(table) if isinstance(query, Range | AsOf) else table


def _render(query: Query, chosen: Chosen) -> Sql:
    if isinstance(query, Events):
        return render_events(query, chosen)
    if isinstance(query, Range):
        return render_range(query, chosen)
    if isinstance(query, AsOf):
        return render_asof(query, chosen)
    if isinstance(query, Count):
        return render_count(query, chosen)
    assert isinstance(query, Window)
    return render_window(query, chosen)


class PostgresUpkeep:
    """Retention by rows. Days are not sealed here, and there are no rollups: windows are worked out from samples."""

    def __init__(self, store: PostgresStore, book: KeepBook, *, on_writer: OnWriter, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._on_writer = on_writer
        self._clock = clock

    async def begin(self) -> None:
        """Nothing was left half done: each step was one transaction."""

    def close(self) -> None:
        """Nothing runs beside."""

    async def maintain(self, tags: TagDictionary) -> None:
        """Drop what is too old. Raises HistoryStoreError."""
        now_ns = self._clock.now_ns()
        for keep, tag_ids in self._book.by_keep(tags.find("*", None)).items():
            end = keep.ends(now_ns).samples
            if end > NEVER:
                await self._on_writer(lambda ids=tag_ids, day=end: self._store.drop(ids, day * DAY_NS))  # type: ignore[misc]
        end = self._book.default.ends(now_ns).samples
        if end > NEVER:
            await self._on_writer(lambda: self._store.drop_events(end * DAY_NS))

    async def seal(self, day: int) -> bool:
        """Never: rows stay where they are."""
        return False

    async def sealed_days(self) -> list[int]:
        """None."""
        return []

    async def roll_up_again(self, day: int) -> bool:
        """There are no rollups."""
        return False

    def sealed_count(self) -> int:
        """None."""
        return 0

    def bytes_on_disk(self) -> int:
        """As the server says."""
        return self._store.bytes_on_disk()
