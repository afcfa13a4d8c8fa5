"""A history in PostgreSQL as it is at one moment, and one that is filled from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from millstream.historian._dialect_postgres import day_sql
from millstream.historian._frozen import ROLLED, Beside, of_day
from millstream.historian._ports import DeadLetter
from millstream.historian._postgres_link import PostgresLink
from millstream.historian._postgres_store import KIND_ESCAPED, PostgresStore, load_last, plain, store_tags, unescaped
from millstream.historian._store import Position
from millstream.historian._tags import TagEntry

if TYPE_CHECKING:
    import pyarrow as pa

_DAY = day_sql("time_ns")
_SAMPLES = "tag_id, time_ns, n, kind, value, whole, text, quality"
_EVENT_TEXTS = ("id", "source", "type", "subject", "content_type", "data", "extensions")


class PostgresFrozen:
    """One transaction that only reads: the writer goes on beside it."""

    def __init__(self, link: PostgresLink) -> None:
        self._link = link
        link.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", doing="be copied")
        letters = link.rows("SELECT payload, reason, code, source, subject, content_type, time_ns FROM dead_letters")
        tags = link.rows("SELECT tag_id, path, description, kind, is_corrected FROM tags ORDER BY tag_id")
        positions = link.rows("SELECT stream, generation, last_seq, last_stored_ns FROM sink_pos ORDER BY 1, 2")
        self.beside = Beside(
            [TagEntry(*row) for row in tags],
            [Position(*row) for row in positions],
            link.rows("SELECT stream, generation, first_seq, last_seq, noticed_ns FROM stream_gaps"),
            link.rows("SELECT stream, origin, state FROM ledger_state"),
            dict(link.rows("SELECT name, value FROM counters")),
            [DeadLetter(*row) for row in letters],
            load_last(link),
        )
        self.order = self.beside.counters.get("order", 0)
        self.events_count = int(link.rows("SELECT count(*) FROM events")[0][0])

    def days(self) -> list[tuple[int, int]]:
        """Days with samples, and how many."""
        rows = self._link.rows(f"SELECT {_DAY} AS day, count(*) FROM readings GROUP BY 1 ORDER BY 1")
        return [(int(day), int(count)) for day, count in rows]

    def samples(self, day: int) -> Iterator[pa.Table]:
        """Those of a day."""
        sql = f"SELECT {_SAMPLES} FROM readings WHERE {of_day('time_ns', day)}"
        return (unescaped(table) for table in self._link.parts(sql, doing="be copied"))

    def rolled_days(self) -> list[tuple[int, int]]:
        """Days with rollups in the place of samples, and how many."""
        rows = self._link.rows(f"SELECT {day_sql('start_ns')} AS day, count(*) FROM rollups GROUP BY 1 ORDER BY 1")
        return [(int(day), int(count)) for day, count in rows]

    def rollups(self, day: int) -> Iterator[pa.Table]:
        """Those of a day."""
        sql = f"SELECT {ROLLED} FROM rollups WHERE {of_day('start_ns', day)}"
        return self._link.parts(sql, doing="be copied")

    def events(self) -> Iterator[pa.Table]:
        """All of them."""
        return self._link.parts(f"SELECT tag_id, time_ns, n, {', '.join(_EVENT_TEXTS)} FROM events", doing="be copied")

    def close(self) -> None:
        """It is read."""
        self._link.close()


def freeze(store: PostgresStore) -> PostgresFrozen:
    """The history as it is now. Raises HistoryStoreError."""
    link, is_frozen = PostgresLink(store.server), False
    try:
        frozen = PostgresFrozen(link)
        is_frozen = True
        return frozen
    finally:
        if not is_frozen:
            link.close()


def fill(
    store: PostgresStore, beside: Beside, samples: Iterator[pa.Table], events: Iterator[pa.Table],
    rollups: Iterator[pa.Table],
) -> int:  # fmt: skip
    """Put a whole history into an empty one, in one transaction; how many samples. Raises HistoryStoreError."""
    with store.reading() as link, link.transaction("be filled"):
        rows = _fill_rows(link, "readings", (_escaped(part) for part in samples), 0)
        order = rows + _fill_rows(link, "events", (_plain(part) for part in events), rows)
        for part in rollups:
            link.insert("rollups", _narrowed(part))
        store_tags(link, beside.tags)
        link.run_each(
            "INSERT INTO sink_pos VALUES ($1, $2, $3, $4)",
            [(p.stream, p.generation, p.last_seq, p.last_stored_ns) for p in beside.positions],
        )
        link.run_each("INSERT INTO stream_gaps VALUES ($1, $2, $3, $4, $5)", list(beside.gaps))
        link.run_each(
            "INSERT INTO ledger_state VALUES ($1, $2, $3)",
            [(stream, plain(origin), state) for stream, origin, state in beside.ledger],
        )
        link.run_each(
            "INSERT INTO dead_letters VALUES ($1, $2, $3, $4, $5, $6, $7)",
            [
                (d.source, d.payload, plain(d.reason), d.code, plain(d.subject), plain(d.content_type), d.time_ns)
                for d in beside.letters
            ],
        )
        counters = {**beside.counters, "rows": rows, "order": order}
        link.run_each("INSERT INTO counters VALUES ($1, $2)", list(counters.items()))
    return rows


def _fill_rows(link: PostgresLink, name: str, parts: Iterator[pa.Table], first: int) -> int:
    import pyarrow as pa

    n = first
    for part in parts:
        types = {"tag_id": pa.int32(), "kind": pa.int16(), "quality": pa.int64()}
        columns = {
            c: part.column(c).cast(types[c]) if c in types and (name, c) != ("events", "kind") else part.column(c)
            for c in part.column_names
        }
        columns["n"] = pa.array(range(n, n + len(part)), pa.int64())
        link.insert(name, pa.table(columns))
        n += len(part)
    return n - first


def _narrowed(part: pa.Table) -> pa.Table:
    import pyarrow as pa

    types = {"level_s": pa.int32(), "tag_id": pa.int32()}
    return pa.table(
        {name: part.column(name).cast(types.get(name, part.column(name).type)) for name in part.column_names}
    )


def _escaped(part: pa.Table) -> pa.Table:
    """Text with NUL characters as JSON, under a kind of its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_marked = pc.fill_null(pc.match_substring(part.column("text"), "\x00"), False)
    if not pc.any(is_marked).as_py():
        return part
    pairs = zip(part.column("text").to_pylist(), is_marked.to_pylist(), strict=True)
    text = pa.array([json.dumps(text) if mark else text for text, mark in pairs], pa.string())
    kind = pc.if_else(is_marked, pa.scalar(KIND_ESCAPED, part.column("kind").type), part.column("kind"))
    part = part.set_column(part.schema.get_field_index("kind"), "kind", kind)
    return part.set_column(part.schema.get_field_index("text"), "text", text)


def _plain(part: pa.Table) -> pa.Table:
    """Events without NUL characters."""
    import pyarrow as pa

    for name in _EVENT_TEXTS:
        texts = pa.array([plain(text) for text in part.column(name).to_pylist()], pa.string())
        part = part.set_column(part.schema.get_field_index(name), name, texts)
    return part
