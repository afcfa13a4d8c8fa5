"""Questions to a history in ClickHouse, and its upkeep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream.historian._clickhouse_store import ClickhouseStore
from millstream.historian._dialect import Dialect
from millstream.historian._dialect_clickhouse import (
    render_asof,
    render_count,
    render_events,
    render_range,
    render_window,
)
from millstream.historian._dialect_duckdb import Chosen
from millstream.historian._engine import Plan, QueryStopped, Questions, Running
from millstream.historian._keep import NEVER, KeepBook
from millstream.historian._query import Query
from millstream.historian._server import ServerUpkeep
from millstream.historian._store import DAY_NS, HistoryStoreError
from millstream.historian._tags import TagDictionary
from millstream.historian._upkeep import OnWriter
from millstream.kernel import Clock

if TYPE_CHECKING:
    import pyarrow as pa

_CLICKHOUSE = Dialect(render_events, render_range, render_asof, render_count, render_window)
_NO_TAG = Chosen([2**32 - 1])  # a pattern that matches nothing: a number that no tag has


class ClickhouseQuestions(Questions):
    """Each answer is one statement, about what was stored when it was asked."""

    def __init__(self, store: ClickhouseStore, tags: TagDictionary) -> None:
        super().__init__(store, tags)
        self._server = store

    def _raw(self, query: Query, plan: Plan, running: Running) -> pa.Table:
        sql = _CLICKHOUSE.render(query, plan.chosen if plan.chosen.tag_ids else _NO_TAG, self._server.seen())
        with self._server.reading() as link, running.holding(link):
            try:
                return link.ask(sql, doing="answer")
            except HistoryStoreError as error:
                if running.is_stopped:
                    raise QueryStopped("query was stopped") from error
                raise


class ClickhouseUpkeep(ServerUpkeep):
    """Retention by partitions and rows; what does not count is taken out; a shortcut for the next start."""

    def __init__(self, store: ClickhouseStore, book: KeepBook, *, on_writer: OnWriter, clock: Clock) -> None:
        super().__init__(store, book, on_writer=on_writer, clock=clock)
        self._server = store

    async def maintain(self, tags: TagDictionary) -> None:
        """As of any server. Raises HistoryStoreError."""
        now_ns, store = self._clock.now_ns(), self._server
        ends = [keep.ends(now_ns).samples for keep in self._book.by_keep(tags.find("*", None))]
        for table, end in (("readings", min(ends, default=NEVER)), ("events", self._book.default.ends(now_ns).samples)):
            if end > NEVER:
                await self._on_writer(lambda table=table, day=end: store.drop_whole(table, day * DAY_NS))  # type: ignore[misc]
        await super().maintain(tags)
        await self._on_writer(lambda: store.sweep(now_ns))
        await self._on_writer(store.save_last)
