"""A store filled by hand, and answers as plain rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.historian import Query
from millstream.historian._columns import to_columns
from millstream.historian._engine import QueryEngine
from millstream.historian._keep import Keep, KeepBook, KeepRule
from millstream.historian._lapse import Lapser
from millstream.historian._query import check_query
from millstream.historian._rows import Rows
from millstream.historian._seal import Sealer
from millstream.historian._store import DAY_NS, Commit, HistoryStore, Position
from millstream.historian._tags import TagDictionary
from millstream.protocols.uns_payload import decode_value

BAD, UNCERTAIN = 0x80000000, 0x40000000
DAY = 19_000
T0 = DAY * DAY_NS
HOUR_NS, MINUTE_NS = 3600 * 10**9, 60 * 10**9
TAGS = ("acme/p1:a", "acme/p1:b", "acme/p1:c")


@dataclass(frozen=True)
class S:
    """One stored sample of the reference."""

    tag: str
    time_ns: int
    value: Any
    quality: int = 0
    kind: str = "tag"


class History:
    """A store filled by hand."""

    def __init__(self, folder: Path) -> None:
        self.store = HistoryStore(folder)
        self.store.open()
        self.tags = TagDictionary(self.store.tags())
        self.sealer = Sealer(self.store)
        self.lapser = Lapser(self.store, self.sealer)
        self.engine = QueryEngine(self.store, self.tags)
        self.seq = 0
        for tag in TAGS:
            self.tags.intern(tag)

    def add(self, samples: Sequence[S]) -> None:
        columns = to_columns([s.value for s in samples])
        rows = Rows(
            np.array([self.tags.intern(s.tag, s.kind) for s in samples], np.uint32),
            np.array([s.time_ns for s in samples], np.int64),
            np.arange(len(samples)),
            np.array([s.quality for s in samples], np.uint32),
            columns.kind,
            columns.value,
            columns.whole,
            columns.text,
        )
        self.store.commit(Commit(Position("H", 1, self.seq + 1), self.seq, rows, self.tags.dirty()))
        self.seq += 1

    def seal(self, day: int) -> None:
        sealed = self.sealer.write(day, self.store.next_order)
        if sealed is not None:
            self.sealer.remove(self.sealer.name(sealed))

    def lapse(self, before_day: int, *, rules: Sequence[KeepRule] = (), keep: Keep | None = None) -> list[str]:
        """Drop what is over when `before_day` has just begun to be kept; by default all samples before it."""
        keep = keep or Keep(samples_s=0.0)
        book, now_ns = KeepBook(keep, rules), before_day * DAY_NS
        tags = book.by_keep(self.tags.find("*", None))
        removed: list[str] = []
        self.lapser.drop_events(keep.ends(now_ns).samples)
        for segment in self.sealer.segments():
            lapsed = self.lapser.write(segment.day, book.gone(segment.day, tags, now_ns))
            if lapsed is not None:
                removed += self.lapser.name(lapsed)
        self.sealer.remove(removed)
        return removed

    def ask(self, query: Query) -> pa.Table:
        check_query(query)
        return self.engine.answer(query, self.engine.plan(query))


@contextmanager
def history(folder: Path | None = None) -> Iterator[History]:
    """A new store, or the one in `folder`."""
    with tempfile.TemporaryDirectory() as new:
        made = History(folder or Path(new))
        try:
            yield made
        finally:
            made.store.close()


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    columns = {
        n: table.column(n).cast(pa.int64()).to_pylist()
        if pa.types.is_timestamp(table.schema.field(n).type)
        else table.column(n).to_pylist()
        for n in table.column_names
    }
    if (table.schema.metadata or {}).get(b"value_encoding") == b"json":
        columns["value"] = [None if v is None else decode_value(v) for v in columns["value"]]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
