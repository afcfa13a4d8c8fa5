"""Questions to a history in PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from millstream.historian._dialect import Dialect
from millstream.historian._dialect_duckdb import Chosen
from millstream.historian._dialect_postgres import (
    render_asof,
    render_count,
    render_events,
    render_range,
    render_window,
)
from millstream.historian._engine import Plan, QueryStopped, Questions, Running
from millstream.historian._postgres_store import PostgresStore, unescaped
from millstream.historian._query import AsOf, Query, Range
from millstream.historian._store import HistoryStoreError
from millstream.historian._tags import TagDictionary

if TYPE_CHECKING:
    import pyarrow as pa

_POSTGRES = Dialect(render_events, render_range, render_asof, render_count, render_window)
_NO_TAG = Chosen([2**31 - 1])  # a pattern that matches nothing: a number that no tag has


class PostgresQuestions(Questions):
    """Each answer is one statement, and so of one moment."""

    def __init__(self, store: PostgresStore, tags: TagDictionary) -> None:
        super().__init__(store, tags)
        self._server = store

    def _raw(self, query: Query, plan: Plan, running: Running) -> pa.Table:
        chosen = replace(plan.chosen if plan.chosen.tag_ids else _NO_TAG, rolled_until_ns=self._server.rolled_until_ns)
        sql = _POSTGRES.render(query, chosen)
        with self._server.reading() as link, running.holding(link):
            try:
                table = link.ask(sql.text, sql.parameters, doing="answer")
            except HistoryStoreError as error:
                if running.is_stopped:
                    raise QueryStopped("query was stopped") from error
                raise
        return unescaped(table) if isinstance(query, Range | AsOf) else table
