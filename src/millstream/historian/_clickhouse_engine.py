"""Questions to a history in ClickHouse, and its upkeep."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
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
from millstream.historian._keep import NEVER, KeepBook, TagsByKeep
from millstream.historian._query import Query
from millstream.historian._server import ServerUpkeep
from millstream.historian._store import DAY_NS, HistoryStoreError
from millstream.historian._tags import TagDictionary
from millstream.historian._upkeep import OnWriter
from millstream.kernel import Clock
from millstream.sdk import Log

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
        seen = self._server.seen()  # before it is known whether there are rollups
        chosen = replace(plan.chosen if plan.chosen.tag_ids else _NO_TAG, rolled_until_ns=self._server.rolled_until_ns)
        sql = _CLICKHOUSE.render(query, chosen, seen)
        with self._server.reading() as link, running.holding(link):
            try:
                return link.ask(sql, doing="answer")
            except HistoryStoreError as error:
                if running.is_stopped:
                    raise QueryStopped("query was stopped") from error
                raise


class ClickhouseUpkeep(ServerUpkeep):
    """Retention by partitions and rows; what does not count is taken out; a shortcut for the next start."""

    def __init__(
        self, store: ClickhouseStore, book: KeepBook, *, on_writer: OnWriter, clock: Clock, log: Log | None = None
    ) -> None:  # fmt: skip
        super().__init__(store, book, on_writer=on_writer, clock=clock, log=log)
        self._server = store

    async def _drop(self, tags: TagsByKeep, now_ns: int, upto: int) -> None:
        """Whole partitions first: that costs nothing."""
        store = self._server
        ends = [keep.ends(now_ns) for keep in tags]
        whole = {
            "readings": min((end.samples for end in ends), default=NEVER),
            "rollups": min((min(end.minutes, end.hours) for end in ends), default=NEVER),
            "events": self._book.default.ends(now_ns).samples,
        }
        for table, end in whole.items():
            if end > NEVER:
                await self._on_writer(partial(store.drop_whole, table, end * DAY_NS, upto))
        await super()._drop(tags, now_ns, upto)
        await self._on_writer(partial(store.sweep, now_ns))
        await self._on_writer(store.save_last)
