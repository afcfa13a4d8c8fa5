"""A history seen by somebody who may see some paths only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from millstream.bus import MemoryReader, MemoryStream
from millstream.historian import (
    AsOf,
    Count,
    Events,
    HistorianOptions,
    HistorianService,
    HistoryView,
    Last,
    Names,
    Query,
    Range,
    Window,
)
from millstream.kernel import NotFoundError
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.uns_payload import encode_sample

T0 = 1_700_000_000 * 10**9
MINE = {"acme/p1:speed", "acme/p1/line:[x]*", "acme/p1"}


@asynccontextmanager
async def view(folder: Path, *paths: str) -> AsyncIterator[HistoryView]:
    source = MemoryStream("H_INTEGRITY")
    for place in ("p1._tag.speed", "p1.line._tag.=5Bx=5D=2A", "p10._tag.speed", "p2._tag.speed", "_tag.speed"):
        payload = encode_sample(1.5, quality=0, source_time_ns=T0, ingest_time_ns=T0)
        source.append(f"uns.v1.acme.{place}", payload)
    for place in ("p1", "p2"):
        headers, payload = encode_event(CloudEvent(f"e-{place}", "/x", "com.acme.stopped", {"at": place}, T0))
        lines = "".join(f"{key}: {text}\r\n" for key, text in headers.items())
        source.append(f"uns.v1.acme.{place}._event.stopped", payload, f"NATS/1.0\r\n{lines}\r\n".encode())
    options = HistorianOptions(commit_every_s=0.02)
    async with HistorianService(MemoryReader(source), folder, streams=("H_INTEGRITY",), options=options) as historian:
        async with asyncio.timeout(60):
            while historian.positions["H_INTEGRITY"] < source.last_seq:
                await asyncio.sleep(0.01)
        yield HistoryView(historian, paths)


QUERIES: list[Query] = [
    Last(tags=("*",)),
    Range(tags=("*",)),
    Count(tags=("*speed", "*line*", "acme/p2*")),
    Window(tags=("*",), start_ns=T0, end_ns=T0 + 10**9, every_ns=10**9),
    AsOf(tags=("*",), times_ns=(T0,)),
    AsOf(tags=("*",), reference="acme/p1:speed", start_ns=T0, end_ns=T0 + 1),
    Names(tags=("*",)),
    Events(tags=("*",)),
    Events(tags=("*",), type="com.*"),
]


async def test_each_kind_of_question_is_answered_below_the_paths_only(tmp_path: Path) -> None:
    async with view(tmp_path, "acme/p1") as mine:
        for query in QUERIES:
            table = await mine.query(query)
            column = next(name for name in ("tag", "path", "name") if name in table.column_names)
            found = set(table.column(column).to_pylist())
            assert found, query
            assert found <= MINE | {"acme/p1:stopped"}, (query, found)
        assert {entry.path for entry in mine.tags("*", "tag")} == {"acme/p1:speed", "acme/p1/line:[x]*"}


async def test_what_is_elsewhere_does_not_exist_and_no_message_says_its_name(tmp_path: Path) -> None:
    async with view(tmp_path, "acme/p1") as mine:
        for query in (
            Last(tags=("acme/p2:speed",)),
            Last(tags=("acme/p2:speee",)),
            Range(tags=("acme/p1:speed", "acme/p10:speed")),
            AsOf(tags=("acme/p1:speed",), reference="acme/p2:speed", start_ns=T0, end_ns=T0 + 1),
            AsOf(tags=("acme/p1:speed",), reference="acme/p2:no such", start_ns=T0, end_ns=T0 + 1),
        ):
            with pytest.raises(NotFoundError) as caught:
                await mine.query(query)
            texts = {word for word in str(caught.value).split() if "acme" in word}
            asked = str(query)
            assert all(word.strip(",;") in asked or word.strip(",;").split(":")[0] in asked for word in texts)
            assert "did you mean" not in str(caught.value)
        assert (await mine.query(Last(tags=("acme/p2*",)))).num_rows == 0


async def test_without_a_path_nothing_is_seen(tmp_path: Path) -> None:
    async with view(tmp_path) as nothing:
        assert (await nothing.query(Last(tags=("*",)))).num_rows == 0
        assert nothing.tags("*", None) == []
        assert not nothing.sees("acme")
