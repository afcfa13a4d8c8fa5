"""What a history on a server of any make must do: the answers of the embedded one, and each batch once. Each check
gets a store to fill by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pytest
from history_kit import BAD, DAY, T0, TAGS, S, history, rows_of
from history_reference import (
    asof_queries,
    check_asof,
    check_range,
    check_windows,
    range_queries,
    reference_range,
    same,
    samples_of_days,
    window_queries,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_kill_nine import STREAM, Server, connect, eventually, make_stream, messages, position_of, start_sink

from millstream.bus import GroupCommitPublisher, StreamApi
from millstream.historian import (
    AGGREGATES,
    AsOf,
    ClickhouseServer,
    Count,
    Events,
    Keep,
    KeepRule,
    Last,
    PostgresServer,
    Query,
    Range,
    Window,
    check_empty,
    copied_files,
    fill_server,
    prove_history,
)
from millstream.historian._columns import to_columns
from millstream.historian._dialect_duckdb import Chosen
from millstream.historian._engine import Plan, Questions, Running
from millstream.historian._events import EventRow
from millstream.historian._keep import KeepBook, SaidKeep
from millstream.historian._ports import DeadLetter
from millstream.historian._query import check_query
from millstream.historian._rows import Rows
from millstream.historian._server import DropsRows
from millstream.historian._server_copy import copy_server, freeze
from millstream.historian._store import DAY_NS, Commit, HistoryStoreError, Position
from millstream.historian._storing import Store
from millstream.historian._tags import TagDictionary
from millstream.historian._upkeep import Upkeep
from millstream.kernel import FencedError, PlantError
from millstream.protocols.uns_pattern import Pattern


class ServerStore(Store, DropsRows, Protocol):
    """A store of any make."""

    @property
    def next_order(self) -> int:
        """The place of arrival of the next row."""
        ...


class Filled:
    """A store on a server, filled by hand; `empty` takes all out of it."""

    store: ServerStore
    engine: Questions

    def __init__(self, store: ServerStore, *, is_new: bool = True) -> None:
        self.store = store
        store.open()
        if is_new:
            self.clear()
        else:
            self.look()

    def clear(self) -> None:
        """As new."""
        self.empty()
        self.look()
        for tag in TAGS:
            self.tags.intern(tag)

    def look(self) -> None:
        """With what is stored."""
        self.tags = TagDictionary(self.store.tags())
        self.engine = self.questions(self.tags)
        self.seq = self.store.position("H", 1).last_seq

    def empty(self) -> None:
        """Without rows."""
        raise NotImplementedError

    def settle(self) -> None:
        """Until what was dropped is gone."""

    def questions(self, tags: TagDictionary) -> Questions:
        """Of this make."""
        raise NotImplementedError

    def columns(self, samples: Sequence[S]) -> Rows:
        columns = to_columns([s.value for s in samples])
        return Rows(
            np.array([self.tags.intern(s.tag, s.kind) for s in samples], np.uint32),
            np.array([s.time_ns for s in samples], np.int64),
            np.arange(len(samples)),
            np.array([s.quality for s in samples], np.uint32),
            columns.kind,
            columns.value,
            columns.whole,
            columns.text,
        )

    def add(self, samples: Sequence[S], **more: Any) -> bool:
        rows = self.columns(samples)
        self.seq += 1
        return self.store.commit(Commit(Position("H", 1, self.seq), self.seq - 1, rows, self.tags.dirty(), **more))

    def ask(self, query: Query) -> pa.Table:
        check_query(query)
        return self.engine.answer(query, self.engine.plan(query))


def check_all_questions(filled: Filled, examples: int = 10) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(samples_of_days, st.integers(0, 40), window_queries(), range_queries(), asof_queries())
    def check(samples: list[S], cut: int, window: Window, span: Range, asof: AsOf) -> None:
        check_questions(filled, samples, cut, (window, span, asof))

    check()


def check_questions(filled: Filled, samples: list[S], cut: int, asked: tuple[Window, Range, AsOf]) -> None:
    window, span, asof = asked
    filled.clear()
    filled.add(samples[:cut])
    filled.add(samples[cut:])
    check_windows(rows_of(filled.ask(window)), samples, window)
    table = filled.ask(span)
    check_range(rows_of(table), (table.schema.metadata or {}).get(b"truncated") == b"true", samples, span)
    check_asof(rows_of(filled.ask(asof)), samples, asof)
    inside = reference_range(samples, span)
    counted = filled.ask(Count(tags=TAGS, start_ns=span.start_ns, end_ns=span.end_ns, quality=span.quality))
    assert {r["tag"]: r["count"] for r in rows_of(counted)} == {
        t: n for t in TAGS if (n := sum(s.tag == t for s in inside))
    }
    before = rows_of(filled.ask(Last(tags=TAGS)))
    newest = {t: max((s.time_ns for s in samples if s.tag == t), default=None) for t in TAGS}
    assert {r["tag"]: r["timestamp"] for r in before} == {t: n for t, n in newest.items() if n is not None}
    filled.store.reopen()  # then the last values are read from the rows
    assert repr(rows_of(filled.ask(Last(tags=TAGS)))) == repr(before)


def check_values_times_and_corrections(filled: Filled) -> None:
    values = [1.5, 2**63 - 1, -(2**63), True, "x" * 100_000, math.nan, -math.inf, 2**53 + 1, "a\x00b", None, b"\x00",
              [1, "\x00"], 2**70]  # fmt: skip
    samples = [S(TAGS[0], T0 + i, value) for i, value in enumerate(values)]
    ends = [-9_214_560_000_000_000_000, -1, 0, 9_214_646_399_999_999_999]
    samples += [S(TAGS[1], t, float(i), BAD if i == 1 else 0) for i, t in enumerate(ends)]
    samples += [S("acme/p1:'; DROP TABLE readings; --", T0, 1.0)]
    counts = [S(TAGS[2], T0, 1.0, 0, "count"), S(TAGS[2], T0 + 5, 2.0, 0, "count")]
    counts += [S(TAGS[2], T0, 7.0, BAD, "count"), S(TAGS[2], T0 + 5, 9.0, 0, "count")]  # the second ones count
    questions: list[Query] = [Range(tags=(tag,)) for tag in TAGS[:2]]
    questions += [Range(tags=("*",), layout="typed"), Last(tags=("*",)), Count(tags=("*",)), Range(tags=("zzz*",))]
    for quality in ("any", "usable", "good"):
        here: dict[str, Any] = {"tags": (TAGS[2],), "data_kind": "count", "quality": quality}
        questions += [Range(**here), Count(**here), Range(**here, as_recorded=True)]
        questions += [AsOf(**here, times_ns=(T0 - 1, T0, T0 + 4, T0 + 6))]
        questions += [Window(**here, start_ns=T0, end_ns=T0 + 20, every_ns=10, aggregates=AGGREGATES)]
    filled.clear()
    filled.add(samples)
    filled.add(counts)
    with history() as embedded:
        embedded.add(samples)
        embedded.add(counts)
        for question in questions:
            left, right = filled.ask(question), embedded.ask(question)
            assert left.schema.equals(right.schema), question
            pairs = list(zip(rows_of(left), rows_of(right), strict=True))
            assert all(same(x, y) for a, b in pairs for x, y in zip(a.values(), b.values(), strict=True)), question


def check_what_is_beside(filled: Filled) -> None:
    filled.clear()
    event = EventRow(0, T0, "1", "/press", "com.acme.stop\x00ped", None, "text/plain", '{"a":1}', None)
    before, messages_before = filled.store.next_order, filled.store.counters().get("messages", 0)
    letter = DeadLetter(b"\x00raw", "not \x00 readable", "MS-0300", "H:1:7", "uns.v1.x", "text/plain", T0)
    beside = {"ledger": {"o" * 5000: b"\x00\x01"}, "gaps": [(3, 5)], "bad": [letter], "counts": {"messages": 2},
              "events": [event, event]}  # fmt: skip
    assert filled.add([S(TAGS[0], T0, 1.0)], **beside)
    filled.seq -= 1
    assert not filled.add([S(TAGS[0], T0, 1.0)], **beside)  # its answer was lost
    filled.seq += 1
    with pytest.raises(FencedError, match="stands elsewhere"):
        filled.add([S(TAGS[0], T0, 1.0)])
    store = filled.store
    store.reopen()
    assert store.ledger("H")["o" * 5000] == b"\x00\x01"
    assert [d.payload for d in store.dead_letters(9) if d.source == letter.source] == [b"\x00raw"]
    assert (store.rows_count(), store.counters()["messages"] - messages_before) == (1, 2)
    assert store.next_order >= before + 3
    assert store.oldest_ns() == T0
    assert store.bytes_on_disk() > 0
    about = Plan(Chosen([0]), "event", {0: filled.tags.path(0)})
    (row,) = rows_of(filled.engine.answer(Events(tags=("*",), type="com.acme.*"), about))
    assert (row["id"], row["data"]) == ("1", '{"a":1}')
    for without, ids in (("com.acme.*", []), (row["type"], []), ("com.other", ["1"])):
        asked = Events(tags=("*",), type="com.acme.*", without=without)
        assert [each["id"] for each in rows_of(filled.engine.answer(asked, about))] == ids
    assert store.drop([0], T0 + 1) == 1
    filled.settle()
    assert store.rows_count() == 0


async def check_retention(filled: Filled, upkeep_of: Callable[[Any, KeepBook, Any, Any], Upkeep]) -> None:
    """Each tag is kept as the first rule that fits its path says, where there is none as contracts say, the others and
    events as the default; a second look drops nothing more, and a contract that changes does."""
    rules = (KeepRule((Pattern.parse(TAGS[0]),), Keep(3 * 86_400.0)),)

    def contracts(days: int) -> tuple[SaidKeep, ...]:
        said = ((TAGS[1], None), (TAGS[0], 86_400.0), (TAGS[2], days * 86_400.0))
        return tuple(SaidKeep("tag", (Pattern.parse(path),), {"retention": seconds}) for path, seconds in said)

    filled.clear()
    event = EventRow(0, T0, "1", "/press", "com.acme.stop", None, "text/plain", "{}", None)
    filled.add([S(tag, T0 + day * DAY_NS, float(day)) for tag in TAGS for day in range(10)], events=[event])

    async def on_writer(work: Callable[[], Any]) -> Any:
        return work()

    clock = SimpleNamespace(now_ns=lambda: T0 + 10 * DAY_NS)
    book = KeepBook(Keep(8 * 86_400.0), rules, contracts(6))
    upkeep = upkeep_of(filled.store, book, on_writer, clock)
    for days in (6, 6, 2):
        book.set_contracts(contracts(days))
        await upkeep.maintain(filled.tags)
        filled.settle()
        rows = rows_of(filled.ask(Range(tags=TAGS)))
        first = {tag: min(row["value"] for row in rows if row["tag"] == tag) for tag in TAGS}
        assert first == {TAGS[0]: 7.0, TAGS[1]: 0.0, TAGS[2]: 10.0 - days}
        assert len(rows) == 3 + 10 + days
    about = Plan(Chosen([0]), "event", {0: filled.tags.path(0)})
    assert not rows_of(filled.engine.answer(Events(tags=("*",)), about))


async def check_rollups(
    filled: Filled, upkeep_of: Callable[[Any, KeepBook, Any, Any], Upkeep], folder: Path,
    server: PostgresServer | ClickhouseServer,
) -> None:  # fmt: skip
    """Windows have the same numbers before and after the samples went, those of the embedded history; a rollup goes at
    its own time; what comes late to a day that is rolled up is dropped and counted, also a correction."""
    values: list[Any] = [1.5, -3.0, True, 2**60, "text", math.nan, math.inf, None, 7, 0.25]
    samples = [
        S(tag, T0 + day * DAY_NS + i * 1_800 * 10**9 + 1, values[(i + day) % 10], (0, 0, BAD, 0x40000000)[i % 4])
        for tag in TAGS for day in (-1, 0, 1, 2) for i in range(30)
    ]  # fmt: skip
    counts = [S(TAGS[0], T0 + i % 7 * 3600 * 10**9, float(i), 0, "count") for i in range(20)]  # corrects itself
    windows = [
        Window(tags=("acme/p1:[ab]",), start_ns=T0 - DAY_NS, end_ns=T0 + 3 * DAY_NS, every_ns=every,
               aggregates=AGGREGATES[:7], data_kind=kind, limit=10_000)
        for every in (60 * 10**9, 3600 * 10**9, DAY_NS, 7 * DAY_NS) for kind in ("tag", "count")
    ]  # fmt: skip
    filled.clear()
    filled.add(samples)
    filled.add(counts)
    filled.add([S("acme/p1:huge", T0 + i, 1.7e308) for i in range(3)])  # their sum is no number, and stops nothing
    days = partial(_kept, filled, upkeep_of)
    with history() as embedded:
        embedded.add(samples)
        embedded.add(counts)
        for day in range(DAY - 1, DAY + 3):
            embedded.seal(day)
        before = [rows_of(filled.ask(window)) for window in windows]
        filled.store.lapse(DAY - 1, [filled.tags.intern(TAGS[0])], (60, 3600))
        filled.store.reopen()  # the hub died before the samples that they stand for were dropped, where that is apart
        filled.look()
        for window, was in zip(windows, before, strict=True):
            _check_close(rows_of(filled.ask(window)), was, window)
        rule = KeepRule((Pattern.parse(TAGS[1]),), Keep(None))
        await days(DAY + 2, Keep(0.0), (rule,))
        embedded.lapse(DAY + 2, rules=(rule,))
        assert {r["tag"]: r["count"] for r in rows_of(filled.ask(Count(tags=TAGS)))} == {
            TAGS[0]: 30, TAGS[1]: 120, TAGS[2]: 30,
        }  # fmt: skip
        for window, was in zip(windows, before, strict=True):
            _check_close(rows_of(filled.ask(window)), was, window)
            _check_close(rows_of(filled.ask(window)), rows_of(embedded.ask(window)), window)
    pairs = [(filled.tags.intern(tag), day) for tag in TAGS[:2] for day in (DAY - 1, DAY, DAY + 2)]
    assert filled.store.closed(pairs) == {(filled.tags.intern(TAGS[0]), day) for day in (DAY - 1, DAY)}
    expired = filled.store.counters().get("expired", 0)
    filled.add([S(TAGS[0], T0 + 5, 1e6), S(TAGS[0], T0, 1e6, 0, "count"), S("acme/p1:new", T0 + 5, 3.0)])
    for _ in range(2):
        for window, was in zip(windows, before, strict=True):
            _check_close(rows_of(filled.ask(window)), was, window)
        await days(DAY + 2, Keep(0.0), (rule,))
    assert filled.store.counters()["expired"] - expired == 2
    backfilled = Window(tags=("acme/p1:new",), start_ns=T0, end_ns=T0 + DAY_NS, every_ns=DAY_NS, aggregates=("sum",))
    assert [r["sum"] for r in rows_of(filled.ask(backfilled))] == [3.0]  # nothing was rolled up there before
    huge = Window(tags=("acme/p1:huge",), start_ns=T0, end_ns=T0 + DAY_NS, every_ns=DAY_NS, aggregates=("count", "max"))
    assert [(r["count"], r["max"]) for r in rows_of(filled.ask(huge))] == [(3, 1.7e308)]
    filled.store.reopen()
    filled.look()
    _check_close(rows_of(filled.ask(windows[0])), before[0], windows[0])
    check_copied_rollups(filled, windows, folder, server)
    await days(DAY + 5, Keep(0.0, 3 * 86_400.0, None))
    assert {r["timestamp"] // DAY_NS for r in rows_of(filled.ask(windows[0]))} == {DAY + 2}  # minutes of two days
    _check_close(rows_of(filled.ask(windows[2])), before[2], windows[2])


def check_copied_rollups(
    filled: Filled, windows: Sequence[Window], folder: Path, server: PostgresServer | ClickhouseServer
) -> None:
    """A backup has them, and `server`, which is empty, takes them from it."""
    expected = [rows_of(filled.ask(window)) for window in windows]
    made = copy_server(freeze(filled.store), folder)
    with history(made) as embedded:
        for window, was in zip(windows, expected, strict=True):
            _check_close(rows_of(embedded.ask(window)), was, window)
    fill_server(server, made)
    other = type(filled)(type(filled.store)(server), is_new=False)
    try:
        for window, was in zip(windows, expected, strict=True):
            _check_close(rows_of(other.ask(window)), was, window)
    finally:
        other.store.close()


async def _kept(
    filled: Filled, upkeep_of: Callable[[Any, KeepBook, Any, Any], Upkeep], before_day: int, keep: Keep,
    rules: Sequence[KeepRule] = (),
) -> None:  # fmt: skip
    """Retention, when `before_day` has just begun to be kept."""

    async def on_writer(work: Callable[[], Any]) -> Any:
        return work()

    clock = SimpleNamespace(now_ns=lambda: before_day * DAY_NS)
    await upkeep_of(filled.store, KeepBook(keep, rules), on_writer, clock).maintain(filled.tags)
    filled.settle()


def _check_close(found: list[dict[str, Any]], expected: list[dict[str, Any]], about: object) -> None:
    """But for the order in which numbers are added up."""
    assert len(found) == len(expected), about
    for left, right in zip(found, expected, strict=True):
        for name, value in right.items():
            is_same = left[name] == value or (value is not None and math.isclose(left[name], value, rel_tol=1e-12))
            assert is_same, (about, name, left, right)


def check_a_stopped_question(filled: Filled) -> None:
    running = Running()
    running.stop()
    query = Range(tags=TAGS)
    with pytest.raises(HistoryStoreError) as caught:
        filled.engine.answer(query, filled.engine.plan(query), running)
    assert caught.value.code == "MS-0422"


async def kill_again_and_again(
    server: Server, folder: Path, mode: str, restart: Callable[[], None], cycles: int = 3
) -> tuple[int, int]:
    """Publish while the sink and once the database (`restart`) are killed; what was published, and the last sequence,
    which is stored at the end."""
    total = 0
    async with connect(server) as connection:
        await make_stream(connection)
        async with GroupCommitPublisher(
            connection, STREAM, ledger_subject="uns.v1.acme.p1._ledger.e1.integrity"
        ) as publisher:
            for cycle in range(cycles):
                sink = start_sink(server, folder, mode)
                try:
                    for part in range(4):
                        at = position_of(folder)
                        await publisher.submit(messages(total, 300))
                        total += 300
                        await publisher.flush()
                        await eventually(lambda at=at: position_of(folder) > at)  # type: ignore[misc]
                        if cycle == 1 and part == 2:  # it dies with an open transaction, or just after one
                            await publisher.submit(messages(total, 300))
                            total += 300
                            restart()
                    await publisher.flush()
                    last_seq = (await StreamApi(connection).state(STREAM)).last_seq
                    if cycle == cycles - 1:
                        await eventually(lambda seq=last_seq: position_of(folder) == seq)  # type: ignore[misc]
                finally:
                    sink.kill()
                    sink.wait()
    return total, last_seq


def check_a_copy(filled: Filled, folder: Path, server: PostgresServer | ClickhouseServer) -> None:
    """All of it comes as the files of an embedded history, and from there into `server`, which is empty; a day that did
    not change is the same file again."""
    values = [1.5, True, 2**60, "a\x00b"] * 4
    days = [S(TAGS[i % 3], T0 + i * DAY_NS // 4 - DAY_NS, value) for i, value in enumerate(values)]
    twice = [S(TAGS[0], T0, "first"), S(TAGS[0], T0, "second"), S(TAGS[1], T0, 3, kind="count")]
    letter = DeadLetter(b"\x00raw", "not readable", "MS-0300", "H:1:8", "uns.v1.x", "text/plain", T0)
    beside = {"ledger": {"o": b"\x00\x01"}, "gaps": [(3, 5)], "bad": [letter], "counts": {"messages": 2}}
    event = EventRow(0, T0, "1", "/press", "com.acme.stop", None, "text/plain", '{"a":1}', None)
    filled.clear()
    filled.add([*days, *twice], events=[event], **beside)
    asked: list[Query] = [Range(tags=("*",), limit=100), Range(tags=("*",), data_kind="count"), Last(tags=("*",))]
    asked += [Events(tags=("*",)), Window(tags=TAGS, start_ns=T0 - DAY_NS, end_ns=T0 + DAY_NS, every_ns=DAY_NS)]
    answers = [rows_of(filled.ask(query)) for query in asked]
    made = [copy_server(freeze(filled.store), folder / name) for name in ("first", "second")]
    filled.add([S(TAGS[0], T0 + DAY_NS // 2, 9.0)])
    made.append(copy_server(freeze(filled.store), folder / "third"))
    first, second, third = ({name: (at / name).read_bytes() for name in copied_files(at)} for at in made)
    sealed = {name for name in first if name != "hot.duckdb"}
    assert {name: first[name] for name in sealed} == {name: second[name] for name in sealed}
    assert {name for name in sealed if third.get(name) != first[name]} == {
        f"{kind}/2022-01-08.{len([s for s in [*days, *twice] if s.time_ns // DAY_NS == DAY])}.parquet"
        for kind in ("days", "rollups")
    }
    proof = prove_history(made[0])
    assert (proof.sealed_rows, proof.tables["events"], proof.tables["readings"]) == (len(days) + len(twice), 1, 0)
    with history(made[0]) as embedded:
        assert [rows_of(embedded.ask(query)) for query in asked] == answers
    assert fill_server(server, made[0]) == proof.sealed_rows
    with pytest.raises(PlantError, match="not empty"):
        check_empty(server)
    other = type(filled)(type(filled.store)(server), is_new=False)
    try:
        assert [rows_of(other.ask(query)) for query in asked] == answers
        for told in (lambda s: s.ledger("H"), lambda s: s.dead_letters(9), lambda s: s.gaps_count()):
            assert told(other.store) == told(filled.store), (told(other.store), told(filled.store))
        assert other.store.counters()["messages"] == filled.store.counters()["messages"]
        assert other.add([S(TAGS[0], T0 + 7 * DAY_NS, 1.0)])  # it goes on where it stands
        assert other.store.rows_count() == proof.sealed_rows + 1
    finally:
        other.store.close()
