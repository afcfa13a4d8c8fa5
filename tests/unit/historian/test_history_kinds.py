"""Counts, KPIs, states, events and alarms beside tags: never mixed, corrected by what is stored last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from history_kit import BAD, DAY, DAY_NS, MINUTE_NS, T0, TAGS, S, history, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.bus import MemoryReader, MemoryStream
from millstream.historian import (
    AsOf,
    Count,
    Events,
    HistorianOptions,
    HistorianService,
    Last,
    Names,
    Query,
    Range,
    Window,
    decode_query,
)
from millstream.historian._store import HistoryStore
from millstream.kernel import DecodeError, NotFoundError
from millstream.model import Block
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block, encode_sample

FAST = HistorianOptions(commit_every_s=0.02, watch_every_s=0.02)
PARTS = "acme/p1:parts"


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.005)


def block_of(headers: dict[str, str]) -> bytes:
    return ("NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n").encode()


def sample(value: Any, time_ns: int, quality: int = 0) -> bytes:
    return encode_sample(value, quality=quality, source_time_ns=time_ns, ingest_time_ns=time_ns)


def append_event(stream: MemoryStream, kind: str, event: CloudEvent, name: str = "stopped", **more: str) -> None:
    headers, payload = encode_event(event)
    stream.append(f"uns.v1.acme.p1._{kind}.{name}", payload, block_of({**headers, **more}))


async def answers(folder: Path, stream: MemoryStream, *queries: Query) -> list[list[dict[str, Any]]]:
    """Store the stream, ask; then stop, start again and ask again: both must say the same."""
    found = []
    for _ in range(2):
        async with HistorianService(MemoryReader(stream), folder, streams=(stream.name,), options=FAST) as historian:
            await eventually(lambda: historian.positions[stream.name] == stream.last_seq)
            found.append([rows_of(await historian.query(query)) for query in queries])
    assert found[0] == found[1]
    return found[0]


async def test_the_same_path_in_four_kinds_is_four_histories(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    for number, kind in enumerate(("tag", "count", "kpi", "state")):
        stream.append(f"uns.v1.acme.p1._{kind}.parts", sample(number, T0 + number))
    kinds = ("tag", "count", "kpi", "state")
    found = await answers(
        tmp_path,
        stream,
        *(Range(tags=("*",), data_kind=kind) for kind in kinds),
        *(Last(tags=(PARTS,), data_kind=kind) for kind in kinds),
        *(Count(tags=(PARTS,), data_kind=kind) for kind in kinds),
        Names(tags=("*",)),
        Names(tags=(PARTS,), data_kind="kpi"),
    )
    row = {"tag": PARTS, "quality": 0}
    expected = [[{**row, "kind": kind, "timestamp": T0 + n, "value": n}] for n, kind in enumerate(kinds)]
    assert found[:8] == [*expected, *expected]
    assert found[8:12] == [[{"tag": PARTS, "kind": kind, "count": 1}] for kind in kinds]
    assert [r["kind"] for r in found[12]] == sorted(kinds)
    assert found[13] == [{"tag": PARTS, "kind": "kpi", "description": None}]


async def test_blocks_of_counts_are_stored_too_and_descriptions_stay_with_the_tag(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    block = Block(PARTS, np.array([T0, T0 + 1]), np.array([1.0, 2.0]))
    payload = encode_block(block, ingest_time_ns=T0)
    stream.append("uns.v1.acme.p1._count.parts", payload, block_of({"Content-Type": ARROW_TYPE, "Ms-Count": "2"}))
    stream.append("uns.v1.acme.p1._meta.parts", b'{"unit":"1"}')
    counted, names = await answers(tmp_path, stream, Range(tags=(PARTS,), data_kind="count"), Names(tags=("*",)))
    assert [r["value"] for r in counted] == [1.0, 2.0]
    assert [(r["kind"], r["description"]) for r in names] == [("count", None), ("tag", '{"unit":"1"}')]


async def test_a_path_that_is_known_in_another_kind_is_told(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    stream.append("uns.v1.acme.p1._kpi.parts", sample(1, T0))
    async with HistorianService(MemoryReader(stream), tmp_path, streams=("H_INTEGRITY",), options=FAST) as historian:
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 1)
        with pytest.raises(NotFoundError, match="ask for kind kpi"):
            await historian.query(Last(tags=(PARTS,)))


async def test_a_corrected_result_counts_once_and_a_plain_tag_keeps_all(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    for value in (1.0, 3.0):
        for name, kind in (("parts", "count"), ("raw", "tag")):
            stream.append(f"uns.v1.acme.p1._{kind}.{name}", sample(value, T0))
    stream.append("uns.v1.acme.p1._tag.result", sample(1.0, T0))
    stream.append("uns.v1.acme.p1._tag.result", sample(2.0, T0), block_of({"Ms-Revision": "1"}))
    found = await answers(
        tmp_path,
        stream,
        Range(tags=(PARTS,), data_kind="count"),
        Range(tags=("acme/p1:raw",)),
        Range(tags=("acme/p1:result",)),
        Count(tags=("*",)),
        Last(tags=(PARTS,), data_kind="count"),
    )
    values = [[r["value"] for r in rows] for rows in (*found[:3], found[4])]
    assert values == [[3.0], [1.0, 3.0], [2.0], [3.0]]
    assert {r["tag"]: r["count"] for r in found[3]} == {"acme/p1:raw": 2, "acme/p1:result": 1}


async def test_a_repeat_of_an_event_of_the_origin_is_stored_once(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    event = CloudEvent("1", "/press", "com.acme.stopped", None, T0)
    for _ in range(2):
        append_event(stream, "event", event, **{"Nats-Stream-Source": "E_a_I 1 > >"})
    async with HistorianService(MemoryReader(stream), tmp_path, streams=("H_INTEGRITY",), options=FAST) as historian:
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 2)
        stats = await historian.stats()
    assert (stats.events, stats.repeats, stats.samples) == (1, 1, 0)
    with duckdb.connect(str(tmp_path / "hot.duckdb")) as con:
        assert con.execute("SELECT count(*) FROM events").fetchall() == [(1,)]


async def test_events_and_alarms_are_found_by_path_type_and_time(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    data = {"by": "Ärger", "list": [1, None]}
    append_event(
        stream, "event", CloudEvent("1", "/press", "com.acme.stopped", data, T0, "s", extensions={"rank": "2"})
    )
    append_event(stream, "event", CloudEvent("2", "/press", "com.acme.started", None, T0 + 5), "started")
    append_event(stream, "event", CloudEvent("3", "/press", "org.other", b"\x00\xff", T0 + 9, content_type="image/png"))
    append_event(stream, "alarm", CloudEvent("4", "/press", "com.acme.hot", 5, T0 + 6), "hot")
    stream.append("uns.v1.acme.p1._event.stopped", b"{}")  # no CloudEvent
    found = await answers(
        tmp_path,
        stream,
        Events(tags=("*",)),
        Events(tags=("*",), type="com.acme.*"),
        Events(tags=("*",), type="com.acme.started"),
        Events(tags=("*",), start_ns=T0 + 5, end_ns=T0 + 9),
        Events(tags=("acme/p1:stopped",), descending=True, limit=1),
        Events(tags=("acme/*",), data_kind="alarm"),
        Names(tags=("*",)),
        Events(tags=("*",), type="com.acme.*", without="com.acme.started"),
        Events(tags=("*",), without="com.acme.st*"),
    )
    assert [[r["id"] for r in rows] for rows in found[:6]] == [["1", "2", "3"], ["1", "2"], ["2"], ["2"], ["3"], ["4"]]
    assert found[0][0] == {
        "tag": "acme/p1:stopped",
        "kind": "event",
        "timestamp": T0,
        "id": "1",
        "source": "/press",
        "type": "com.acme.stopped",
        "subject": "s",
        "content_type": "application/json",
        "data": '{"by":"Ärger","list":[1,null]}',
        "extensions": '{"rank":"2"}',
    }
    assert (found[0][1]["data"], found[5][0]["data"]) == (None, "5")
    assert [(r["tag"], r["kind"]) for r in found[6]] == [
        ("acme/p1:hot", "alarm"),
        ("acme/p1:started", "event"),
        ("acme/p1:stopped", "event"),
    ]
    assert [[r["id"] for r in rows] for rows in found[7:]] == [["1"], ["3"]]
    store = HistoryStore(tmp_path)
    store.open()
    assert [(d.code, d.payload) for d in store.dead_letters(9)] == [("MS-0381", b"{}")]
    assert store.counters()["events"] == 4
    store.close()


async def test_an_event_that_came_again_is_given_as_stored_last(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    for data in (1, 2):
        append_event(stream, "event", CloudEvent("1", "/press", "com.acme.stopped", data, T0))
    append_event(stream, "event", CloudEvent("1", "/other", "com.acme.stopped", 3, T0))
    (found,) = await answers(tmp_path, stream, Events(tags=("*",)))
    assert [r["data"] for r in found] == ["2", "3"]


async def test_retention_drops_events_of_old_days(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    for day in range(3):
        append_event(stream, "event", CloudEvent(str(day), "/press", "x", None, T0 + day * DAY_NS))
    await answers(tmp_path, stream, Events(tags=("*",)))
    with history(tmp_path) as made:
        made.lapse(DAY + 1)
        assert [r["id"] for r in rows_of(made.ask(Events(tags=("*",))))] == ["1", "2"]


points = st.builds(
    S,
    st.sampled_from(TAGS[:2]),
    st.integers(0, 2).map(lambda n: T0 + n * MINUTE_NS * 60),
    st.integers(0, 9).map(float),
    st.sampled_from((0, BAD)),
    st.sampled_from(("count", "tag", "kpi")),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(points, min_size=12, max_size=40), st.integers(1, 12), st.booleans())
def test_queries_of_corrected_kinds_agree_with_the_reference_hot_and_sealed(
    samples: list[S], cut: int, is_sealed_again: bool
) -> None:
    """The day is sealed with a part of the samples; the corrections come after, and may be sealed into it."""
    with history() as made:
        for part, is_sealed in ((samples[:cut], True), (samples[cut:], is_sealed_again)):
            if part:
                made.add(part)
                if is_sealed:
                    made.seal(DAY)
        for kind in ("count", "kpi", "tag"):
            check(made.ask, samples, kind)


def check(ask: Callable[[Query], Any], samples: Sequence[S], kind: Any) -> None:
    mine = [s for s in samples if s.kind == kind]
    counted = mine if kind == "tag" else list({(s.tag, s.time_ns): s for s in mine}.values())
    by_time = sorted(counted, key=lambda s: (s.time_ns, s.tag))
    pattern = ("acme/*",)
    ranged = rows_of(ask(Range(tags=pattern, data_kind=kind)))
    assert sorted((r["timestamp"], r["tag"], r["value"], r["quality"]) for r in ranged) == sorted(
        (s.time_ns, s.tag, s.value, s.quality) for s in counted
    )
    assert {r["kind"] for r in ranged} <= {kind}
    usable = [s for s in by_time if s.quality != BAD]
    window = Window(
        tags=pattern, data_kind=kind, start_ns=T0, end_ns=T0 + DAY_NS, every_ns=DAY_NS, aggregates=("count", "sum")
    )
    expected = {
        tag: (len(values), sum(values)) for tag in TAGS if (values := [s.value for s in usable if s.tag == tag])
    }
    assert {r["tag"]: (r["count"], r["sum"]) for r in rows_of(ask(window))} == expected
    newest = {s.tag: s for s in sorted(enumerate(mine), key=lambda x: (x[1].time_ns, x[0])) for s in [s[1]]}
    assert {r["tag"]: (r["timestamp"], r["value"]) for r in rows_of(ask(Last(tags=pattern, data_kind=kind)))} == {
        tag: (s.time_ns, s.value) for tag, s in newest.items()
    }
    asof = AsOf(tags=pattern, data_kind=kind, times_ns=(T0 + MINUTE_NS * 70,), quality="any")
    before = {s.tag: s for s in sorted(mine, key=lambda s: s.time_ns) if s.time_ns <= T0 + MINUTE_NS * 70}
    assert {r["tag"]: r["value"] for r in rows_of(ask(asof))} == {tag: s.value for tag, s in before.items()}


def test_a_rollup_that_outlives_its_day_counts_a_corrected_result_once() -> None:
    with history() as made:
        made.add([S(TAGS[0], T0, value, kind="count") for value in (1.0, 5.0)])
        made.seal(DAY)
        made.lapse(DAY + 1)
        query = Window(
            tags=TAGS[:1], data_kind="count", start_ns=T0, end_ns=T0 + DAY_NS, every_ns=DAY_NS,
            aggregates=("count", "sum", "first"),
        )  # fmt: skip
        (row,) = rows_of(made.ask(query))
    assert (row["count"], row["sum"], row["first"]) == (1, 5.0, 5.0)


def test_a_correction_that_comes_after_its_day_was_sealed_is_not_counted_beside_the_rollup() -> None:
    with history() as made:
        made.add([S(TAGS[0], T0, 1.0, kind="count"), S(TAGS[0], T0 + 1, 2.0, kind="count")])
        made.seal(DAY)
        made.add([S(TAGS[0], T0, 5.0, kind="count")])
        query = Window(
            tags=TAGS[:1], data_kind="count", start_ns=T0, end_ns=T0 + DAY_NS, every_ns=DAY_NS,
            aggregates=("count", "sum"),
        )  # fmt: skip
        before = rows_of(made.ask(query))
        made.seal(DAY)
        assert rows_of(made.ask(query)) == before
    assert [(r["count"], r["sum"]) for r in before] == [(2, 7.0)]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"kind":"range","tags":["*"],"data_kind":"event"}',
        b'{"kind":"events","tags":["*"],"data_kind":"tag"}',
        b'{"kind":"events","tags":["*"],"limit":0}',
        b'{"kind":"names","tags":[]}',
        b'{"kind":"names","tags":["*"],"data_kind":"cmd"}',
    ],
)
def test_a_kind_that_has_no_such_history_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_query(payload)


FIRST_LAYOUT = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version VALUES (1);
CREATE TABLE readings (
    tag_id UINTEGER NOT NULL, ts TIMESTAMP_NS NOT NULL, n BIGINT NOT NULL, kind UTINYINT NOT NULL,
    value DOUBLE, whole BIGINT, text VARCHAR, quality UINTEGER NOT NULL
);
INSERT INTO readings VALUES (0, make_timestamp_ns({t}), 0, 1, 1.5, NULL, NULL, 0);
CREATE TABLE tags (tag_id UINTEGER PRIMARY KEY, path VARCHAR NOT NULL, description VARCHAR);
INSERT INTO tags VALUES (0, 'acme/p1:parts', NULL);
CREATE TABLE sink_pos (
    stream VARCHAR, generation BIGINT, last_seq BIGINT NOT NULL, last_stored_ns BIGINT NOT NULL,
    PRIMARY KEY (stream, generation)
);
INSERT INTO sink_pos VALUES ('H_INTEGRITY', 0, 1, 0);
CREATE TABLE stream_gaps (stream VARCHAR, generation BIGINT, first_seq BIGINT, last_seq BIGINT, noticed_ns BIGINT);
CREATE TABLE ledger_state (stream VARCHAR, origin VARCHAR, state BLOB NOT NULL, PRIMARY KEY (stream, origin));
CREATE TABLE counters (name VARCHAR PRIMARY KEY, value BIGINT NOT NULL);
INSERT INTO counters VALUES ('order', 1);
CREATE TABLE last_value (
    tag_id UINTEGER, ts BIGINT, kind UTINYINT, value DOUBLE, whole BIGINT, text VARCHAR, quality UINTEGER
);
CREATE TABLE segments (day BIGINT PRIMARY KEY, file VARCHAR, rows BIGINT NOT NULL, rollup VARCHAR);
CREATE TABLE dead_letters (
    source VARCHAR, payload BLOB, reason VARCHAR, code VARCHAR, subject VARCHAR, content_type VARCHAR, time_ns BIGINT
);
"""


async def test_a_store_of_the_first_layout_opens_and_goes_on(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "hot.duckdb")) as con:
        con.execute(FIRST_LAYOUT.format(t=T0))
    stream = MemoryStream("H_INTEGRITY")
    stream.append("uns.v1.acme.p1._tag.parts", sample(1.5, T0))
    stream.append("uns.v1.acme.p1._count.parts", sample(4, T0))
    append_event(stream, "event", CloudEvent("1", "/press", "com.acme.stopped", None, T0))
    tag, count, events = await answers(
        tmp_path, stream, Range(tags=("*",)), Range(tags=("*",), data_kind="count"), Events(tags=("*",))
    )
    assert [[r["value"] for r in tag], [r["value"] for r in count], [r["id"] for r in events]] == [[1.5], [4], ["1"]]
    with duckdb.connect(str(tmp_path / "hot.duckdb")) as con:
        assert con.execute("SELECT * FROM schema_version").fetchall() == [(2,)]
