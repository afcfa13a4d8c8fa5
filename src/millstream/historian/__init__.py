"""The historian: exactly-once ingest of streams, sealed days in Parquet, and typed queries.

DuckDB is loaded when a service starts, not at import.
"""

from millstream.historian._answer import join_samples
from millstream.historian._clickhouse_link import ClickhouseServer
from millstream.historian._contract_keep import Around, ContractSource, Tell
from millstream.historian._copy import HistoryProof, copied_files, move_positions, prove_history
from millstream.historian._import import check_rows
from millstream.historian._keep import Keep, KeepRule
from millstream.historian._page import Page, decode_page, table_page
from millstream.historian._ports import (
    DeadLetter,
    DeadLetterSink,
    Reply,
    RequestHandler,
    RequestServer,
    StreamState,
    StreamStates,
    parse_created_ns,
)
from millstream.historian._postgres_link import PostgresServer
from millstream.historian._query import (
    AGGREGATES,
    EVENT_KINDS,
    SAMPLE_KINDS,
    Aggregate,
    AsOf,
    Count,
    EventKind,
    Events,
    Last,
    Names,
    QualityFilter,
    Query,
    Range,
    SampleKind,
    Window,
    decode_query,
)
from millstream.historian._server_copy import check_empty, fill_server
from millstream.historian._service import (
    HistorianOptions,
    HistorianService,
)
from millstream.historian._stats import STATES, HistorianState, HistorianStats, StreamStats
from millstream.historian._store import HistoryStoreError
from millstream.historian._tags import TagEntry
from millstream.historian._view import HistoryView

__all__ = [
    "AGGREGATES",
    "Aggregate",
    "Around",
    "AsOf",
    "ClickhouseServer",
    "ContractSource",
    "Count",
    "EVENT_KINDS",
    "EventKind",
    "Events",
    "DeadLetter",
    "DeadLetterSink",
    "HistorianOptions",
    "HistorianService",
    "HistorianState",
    "HistorianStats",
    "HistoryProof",
    "HistoryStoreError",
    "HistoryView",
    "Keep",
    "KeepRule",
    "Last",
    "Names",
    "Page",
    "PostgresServer",
    "QualityFilter",
    "Query",
    "Range",
    "Reply",
    "RequestHandler",
    "RequestServer",
    "SAMPLE_KINDS",
    "STATES",
    "SampleKind",
    "StreamState",
    "StreamStates",
    "StreamStats",
    "TagEntry",
    "Tell",
    "Window",
    "check_empty",
    "check_rows",
    "copied_files",
    "decode_page",
    "decode_query",
    "fill_server",
    "join_samples",
    "move_positions",
    "parse_created_ns",
    "prove_history",
    "table_page",
]
