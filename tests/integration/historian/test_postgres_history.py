"""A history in a real PostgreSQL: each row once through kill -9 of either side, and the answers of the embedded one."""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from history_kit import BAD, T0, TAGS, S, history, rows_of
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
from postgres_peer import PASSWORD, Postgres
from test_kill_nine import Server, connect, eventually, make_stream, messages, position_of, start_sink

from millstream.bus import GroupCommitPublisher, StreamApi
from millstream.historian import (
    AGGREGATES,
    AsOf,
    Count,
    Events,
    Last,
    PostgresServer,
    Query,
    Range,
    Window,
)
from millstream.historian._columns import to_columns
from millstream.historian._dialect_duckdb import Chosen
from millstream.historian._engine import Plan, Running
from millstream.historian._events import EventRow
from millstream.historian._last import LastValues
from millstream.historian._ports import DeadLetter
from millstream.historian._postgres_engine import PostgresQuestions
from millstream.historian._postgres_store import PostgresStore
from millstream.historian._query import check_query
from millstream.historian._rows import Rows
from millstream.historian._store import Commit, HistoryStoreError, Position
from millstream.historian._tags import TagDictionary
from millstream.kernel import FencedError

pytestmark = pytest.mark.needs("postgres")
STREAM = "H_INTEGRITY"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    """Made once; each test has its server started, and ended as by a power loss."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    made = Postgres(folder)
    try:
        made.create()
        made.start()
        made.run(f"CREATE ROLE plant LOGIN PASSWORD '{PASSWORD}'")
        made.run("GRANT CREATE ON DATABASE postgres TO plant")
        made.stop()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(cluster: Postgres) -> Iterator[Postgres]:
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


def server_of(database: Postgres, schema: str) -> PostgresServer:
    return PostgresServer(f"postgresql://127.0.0.1:{database.port}/postgres", "plant", lambda: PASSWORD, schema)


class Filled:
    """A store in PostgreSQL, filled by hand."""

    def __init__(self, server: PostgresServer) -> None:
        self.store = PostgresStore(server)
        self.store.open()
        self.clear()

    def clear(self) -> None:
        """As new."""
        with self.store.reading() as link:
            link.run("TRUNCATE readings, events, tags, sink_pos, counters, dead_letters")
        self.store.last, self.store._order = LastValues(), 0
        self.tags = TagDictionary(self.store.tags())
        self.engine = PostgresQuestions(self.store, self.tags)
        self.seq = 0
        for tag in TAGS:
            self.tags.intern(tag)

    def add(self, samples: Sequence[S], **more: Any) -> bool:
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
        self.seq += 1
        return self.store.commit(Commit(Position("H", 1, self.seq), self.seq - 1, rows, self.tags.dirty(), **more))

    def ask(self, query: Query) -> pa.Table:
        check_query(query)
        return self.engine.answer(query, self.engine.plan(query))


@pytest.fixture
def filled(database: Postgres) -> Iterator[Filled]:
    made = Filled(server_of(database, "asked"))
    yield made
    made.store.close()


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(samples_of_days, st.integers(0, 40), window_queries(), range_queries(), asof_queries())
def test_all_questions_agree_with_the_reference(
    filled: Filled, samples: list[S], cut: int, window: Window, span: Range, asof: AsOf
) -> None:
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


def test_values_times_and_corrections_are_those_of_the_embedded_history(filled: Filled) -> None:
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


def test_what_is_beside_the_rows_is_stored_with_them_and_a_repeat_is_not(filled: Filled) -> None:
    filled.clear()
    event = EventRow(0, T0, "1", "/press", "com.acme.stop\x00ped", None, "text/plain", '{"a":1}', None)
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
    assert store.ledger("H") == {"o" * 5000: b"\x00\x01"}
    assert [d.payload for d in store.dead_letters(9)] == [b"\x00raw"]
    assert (store.rows_count(), store.counters()["messages"], store.next_order) == (1, 2, 3)
    assert store.oldest_ns() == T0
    assert store.bytes_on_disk() > 0
    about = Plan(Chosen([0]), "event", filled.tags.paths())
    (row,) = rows_of(filled.engine.answer(Events(tags=("*",), type="com.acme.*"), about))
    assert (row["id"], row["data"]) == ("1", '{"a":1}')
    assert store.drop([0], T0 + 1) == 1
    assert store.rows_count() == 0


def test_each_panel_of_the_dashboard_reads_the_tables(filled: Filled) -> None:
    filled.clear()
    event = EventRow(1, T0 + 2, "1", "/press", "com.acme.stopped", None, "text/plain", '{"a":1}', None)
    filled.add([S(TAGS[0], T0, 1.0), S(TAGS[0], T0 + 1, None, BAD), S(TAGS[1], T0 - 1, 5.0)],
               counts={"messages": 3, "samples": 3}, events=[event])  # fmt: skip
    found = {}
    board = json.loads((Path(__file__).parents[3] / "deploy" / "grafana" / "history.json").read_text())
    with filled.store.reading() as link:
        for panel in board["panels"]:
            sql = panel["targets"][0]["rawSql"].replace("millstream.", "asked.")
            sql = sql.replace("${path:sqlstring}", ", ".join(f"'{tag}'" for tag in TAGS))
            # as the data source writes its macro
            sql = re.sub(r"\$__unixEpochNanoFilter\(([\w.]+)\)", rf"\1 >= {T0} AND \1 <= {T0 + 9}", sql)
            found[panel["title"]] = link.rows(sql)
        paths = link.rows(board["templating"]["list"][1]["query"].replace("millstream.", "asked."))
    assert [row[1:] for row in found["Samples"]] == [(TAGS[0], 1.0)]
    assert [(row[0], row[2], row[4]) for row in found["Newest values"]] == [
        (TAGS[0], None, "bad"),
        (TAGS[1], 5.0, "good"),
    ]
    assert [row[1:] for row in found["Events"]] == [(TAGS[1], "com.acme.stopped", '{"a":1}')]
    assert [int(number) for number in found["Stored, since the history began"][0]] == [3, 3, 0]
    assert paths == [(tag,) for tag in TAGS]


def test_a_wrong_password_a_second_writer_and_a_long_question_are_told_apart(
    filled: Filled, database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = filled.store.server
    with pytest.raises(HistoryStoreError) as caught:
        PostgresStore(PostgresServer(good.url, good.user, lambda: "wrong", good.schema)).open()
    assert caught.value.code == "MS-0424"
    assert "wrong" not in str(caught.value)
    monkeypatch.setattr("millstream.historian._postgres_store.LOCK_WAIT_S", 1)
    with pytest.raises(FencedError, match="another process"):
        PostgresStore(good).open()
    running = Running()
    running.stop()
    query = Range(tags=TAGS)
    with pytest.raises(HistoryStoreError) as caught:
        filled.engine.answer(query, filled.engine.plan(query), running)
    assert caught.value.code == "MS-0422"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    found = Server(tmp_path)
    await found.start()
    yield found
    found.kill()


async def test_kills_of_the_sink_and_of_the_database_leave_every_row_once(
    server: Server, database: Postgres, tmp_path: Path
) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    (folder / "password").write_text(PASSWORD)
    url = f"postgresql://127.0.0.1:{database.port}/postgres"
    total = 0
    async with connect(server) as connection:
        await make_stream(connection)
        async with GroupCommitPublisher(
            connection, STREAM, ledger_subject="uns.v1.acme.p1._ledger.e1.integrity"
        ) as publisher:
            for cycle in range(3):
                sink = start_sink(server, folder, url)
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
                            database.stop()
                            database.start()
                    await publisher.flush()
                    last_seq = (await StreamApi(connection).state(STREAM)).last_seq
                    if cycle == 2:
                        await eventually(lambda seq=last_seq: position_of(folder) == seq)  # type: ignore[misc]
                finally:
                    sink.kill()
                    sink.wait()
    stored = database.run(
        "SELECT count(*), count(DISTINCT number) FROM (SELECT value::text AS number FROM millstream.readings "
        "UNION ALL SELECT id::float8::text FROM millstream.events) each"
    )
    assert stored == [(total, total)]
    assert database.run("SELECT last_seq FROM millstream.sink_pos") == [(last_seq,)]
