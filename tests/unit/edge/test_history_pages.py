"""Pages of an edge's history: every row once, whatever shares its time, and nothing that was not asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millstream.bus import MemoryReader, MemoryStream
from millstream.edge._history_pages import HistoryPages
from millstream.historian import HistorianOptions, HistorianService
from millstream.kernel import DecodeError, NotFoundError
from millstream.protocols.fleet_data import Cursor, HistoryAsk, PageAsk, decode_cursor
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_payload import encode_sample

T0 = 1_700_000_000 * 10**9
SECOND = 10**9


def sample(value: int, second: int) -> bytes:
    return encode_sample(value, quality=0, source_time_ns=T0 + second * SECOND, ingest_time_ns=T0)


@asynccontextmanager
async def historian(folder: Path) -> AsyncIterator[HistorianService]:
    """Three tags at the same ten moments, and a burst of twelve samples of one moment."""
    stream = MemoryStream("E")
    for i in range(10):
        for tag in ("a", "b", "c"):
            stream.append(f"uns.v1.acme.p1._tag.{tag}", sample(i, i))
    for i in range(12):
        stream.append("uns.v1.acme.p1._tag.burst", sample(i, 5))
    options = HistorianOptions(commit_every_s=0.02, watch_every_s=0.02)
    async with HistorianService(MemoryReader({"E": stream}), folder, streams=("E",), options=options) as made:
        async with asyncio.timeout(60):
            while made.positions != {"E": stream.last_seq}:
                await asyncio.sleep(0.005)
        yield made


async def asked(pages: HistoryPages, *patterns: str, **history: Any) -> list[list[tuple[Any, ...]]]:
    """Rows page by page."""
    ask = PageAsk("x", patterns, start_ns=T0, end_ns=T0 + 100 * SECOND, history=HistoryAsk(**history))
    at, found = Cursor(0, 0, T0, T0 + 100 * SECOND), []
    while True:
        page, cursor = await pages.page(ask, [Pattern.parse(p) for p in patterns], at)
        rows: list[tuple[Any, ...]] = []
        for part in page.parts:
            table = pa.ipc.open_stream(part).read_all().drop_columns(["kind"])
            times = table.column("timestamp").cast(pa.int64()).to_pylist()
            rest = [c.to_pylist() for n, c in zip(table.column_names, table.columns, strict=True) if n != "timestamp"]
            rows += zip(times, *rest, strict=True)
        assert page.rows == len(rows)
        found.append(rows)
        if cursor is None:
            return found
        at = decode_cursor(cursor, 1)


async def test_every_row_comes_once_and_rows_of_one_time_in_one_page(tmp_path: Path) -> None:
    async with historian(tmp_path) as made:
        pages = HistoryPages("e1", lambda: made, page_rows=7)
        found = await asked(pages, "acme/**")
        assert len(found) > 3
        flat = [row for page in found for row in page]
        plain = {(T0 + i * SECOND, f"acme/p1:{tag}", i, 0) for i in range(10) for tag in "abc"}
        burst = {(T0 + 5 * SECOND, "acme/p1:burst", i, 0) for i in range(12)}
        assert len(flat) == 42
        assert set(flat) == plain | burst
        times = [{row[0] for row in page} for page in found]
        assert sum(map(len, times)) == len(set().union(*times))
        windows = await asked(pages, "acme/p1:a", "acme/*:b", every_ns=2 * SECOND, aggregates=("count", "max"))
        assert sorted(row for page in windows for row in page) == sorted(
            (T0 + i * SECOND, f"acme/p1:{tag}", 2, i + 1) for i in range(0, 10, 2) for tag in "ab"
        )


async def test_a_pattern_that_nothing_fits_gives_nothing_and_what_cannot_be_is_refused(tmp_path: Path) -> None:
    async with historian(tmp_path) as made:
        pages = HistoryPages("e1", lambda: made)
        assert await asked(pages, "acme/p2") == [[]]
        with pytest.raises(DecodeError, match="aggregate") as wrong:
            await asked(pages, "acme/**", every_ns=SECOND, aggregates=("median",))
        assert wrong.value.code == "MS-2210"
        with pytest.raises(NotFoundError, match="keeps no history"):
            await asked(HistoryPages("e1", lambda: None), "acme/**")
