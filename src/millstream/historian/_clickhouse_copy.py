"""A history in ClickHouse as it is at one moment, and one that is filled from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from millstream.historian._clickhouse_link import ClickhouseLink
from millstream.historian._clickhouse_state import base64_of
from millstream.historian._clickhouse_store import ClickhouseStore
from millstream.historian._dialect_clickhouse import day_sql
from millstream.historian._frozen import ROLLED, Beside, of_day
from millstream.historian._ports import DeadLetter
from millstream.historian._store import HistoryStoreError

if TYPE_CHECKING:
    import pyarrow as pa

_DAY = day_sql("time_ns")
_SAMPLES = "tag_id, time_ns, n, kind, value, whole, text, quality"
_EVENTS = "tag_id, time_ns, n, id, source, type, subject, content_type, data, extensions"


class ClickhouseFrozen:
    """What counted at that moment: rows are never changed, and what comes later does not count here."""

    def __init__(self, store: ClickhouseStore, link: ClickhouseLink) -> None:
        self._link = link
        self._seen = store.seen()
        self._left = self._seen if store.rolled_until_ns is None else f"{self._seen} AND {self._not_rolled()}"
        self.order = store.next_order
        state = store.state
        gaps = link.rows(
            "SELECT DISTINCT stream, generation, first_seq, last_seq, noticed_ns FROM stream_gaps "
            f"WHERE {self._seen} ORDER BY stream, generation, first_seq"
        )
        ledger = link.rows(
            "SELECT name, part, argMax(base64Encode(data), n) AS found, argMax(value, n) AS is_there FROM state "
            f"WHERE writer = {state.writer:d} AND kind = 'ledger' GROUP BY name, part"
        )
        self.beside = Beside(
            store.tags(),
            list(state.positions.values()),
            gaps,
            [(name, part, base64_of(found)) for name, part, found, is_there in ledger if is_there],
            dict(state.counters),
            self._letters(),
            store.last.rows(),
        )
        self.events_count = int(link.rows(f"SELECT toInt64(count()) FROM events WHERE {self._seen}")[0][0])

    def _not_rolled(self) -> str:
        """As a condition: the server has taken out by and by what has rollups in its place."""
        days = f"SELECT DISTINCT tag_id, {day_sql('start_ns')} FROM rollups WHERE {self._seen}"
        return f"(tag_id, {_DAY}) NOT IN ({days})"

    def _letters(self) -> list[DeadLetter]:
        rows = self._link.rows(
            "SELECT base64Encode(payload) AS raw, reason, code, source, subject, content_type, time_ns "
            f"FROM dead_letters WHERE {self._seen} LIMIT 1 BY source"
        )
        return [DeadLetter(base64_of(raw), *rest) for raw, *rest in rows]

    def days(self) -> list[tuple[int, int]]:
        """Days with samples, and how many."""
        return self._link.rows(
            f"SELECT {_DAY} AS day, toInt64(count()) AS found FROM readings WHERE {self._left} "
            "GROUP BY day ORDER BY day"
        )

    def samples(self, day: int) -> Iterator[pa.Table]:
        """Those of a day."""
        where = f"{of_day('time_ns', day)} AND {self._left}"
        return self._link.parts(f"SELECT {_SAMPLES} FROM readings WHERE {where}", doing="be copied")

    def rolled_days(self) -> list[tuple[int, int]]:
        """Days with rollups in the place of samples, and how many."""
        return self._link.rows(
            f"SELECT {day_sql('start_ns')} AS day, toInt64(count()) AS found FROM rollups WHERE {self._seen} "
            "GROUP BY day ORDER BY day"
        )

    def rollups(self, day: int) -> Iterator[pa.Table]:
        """Those of a day."""
        where = f"{of_day('start_ns', day)} AND {self._seen}"
        return self._link.parts(f"SELECT {ROLLED} FROM rollups WHERE {where}", doing="be copied")

    def events(self) -> Iterator[pa.Table]:
        """All of them."""
        return self._link.parts(f"SELECT {_EVENTS} FROM events WHERE {self._seen}", doing="be copied")

    def close(self) -> None:
        """It is read."""
        self._link.close()


def freeze(store: ClickhouseStore) -> ClickhouseFrozen:
    """The history as it is now; on the thread that writes. Raises HistoryStoreError."""
    link, is_frozen = store.new_link(), False
    try:
        frozen = ClickhouseFrozen(store, link)
        is_frozen = True
        return frozen
    finally:
        if not is_frozen:
            link.close()


def fill(
    store: ClickhouseStore, beside: Beside, samples: Iterator[pa.Table], events: Iterator[pa.Table],
    rollups: Iterator[pa.Table],
) -> int:  # fmt: skip
    """Put a whole history into an empty one; the last block makes it count, how many samples. Raises
    HistoryStoreError."""
    with store.filling() as (link, first):
        rows = _fill_rows(link, "readings", samples, first)
        more = _fill_rows(link, "events", events, first + rows)
        rolled = _fill_rows(link, "rollups", rollups, first + rows + more)
        end = first + rows + more + rolled
        store.put_beside(link, beside, end)
        for table, sent, begin, stop in (
            ("readings", rows, first, first + rows), ("events", more, first + rows, end - rolled),
            ("rollups", rolled, end - rolled, end),
        ):  # fmt: skip
            found = link.rows(f"SELECT toInt64(count()) FROM {table} WHERE n >= {begin:d} AND n < {stop:d}")[0][0]
            if found != sent:
                raise HistoryStoreError(
                    "history's server stored other rows than it was sent", where=store.server.place,
                    expected=str(sent), got=str(found),
                )  # fmt: skip
        store.commit_filled(link, beside, end + 1)
    return rows


def _fill_rows(link: ClickhouseLink, name: str, parts: Iterator[pa.Table], first: int) -> int:
    import pyarrow as pa

    n = first
    for part in parts:
        columns = dict(zip(part.column_names, part.columns, strict=True))
        columns["n"] = pa.array(range(n, n + len(part)), pa.int64())
        link.insert(name, columns, str(n))
        n += len(part)
    return n - first
