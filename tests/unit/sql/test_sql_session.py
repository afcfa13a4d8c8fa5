"""The SQL connector on SQLite: layouts, start, bad rows, faults, read-only."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from millstream.connectors.sql import SqlConfig, SqlConnector, _link
from millstream.kernel import AuthError, ConfigError, DecodeError, PlantError, ProtocolViolation, Unreachable
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_NODE_ID_UNKNOWN, BAD_TYPE_MISMATCH, GOOD, Quality, Sample
from millstream.sdk import Batch, ConnectorTools, Position, Tag

V = (Tag("v", "v"),)
WAIT_S = 60.0


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "mes.sqlite"
    run(found, "CREATE TABLE r (id INTEGER PRIMARY KEY, at TEXT, v, w)")
    return found


def connector(path: Path, **config: Any) -> SqlConnector:
    fields = {"file": str(path), "key": ["id"], "poll_interval": "5ms", **config}
    if "query" not in fields:
        fields.setdefault("table", "r")
    return SqlConnector(SqlConfig.model_validate(fields), ConnectorTools())


@asynccontextmanager
async def batches(
    path: Path, tags: Sequence[Tag] = V, resume: Position | None = None, **config: Any
) -> AsyncIterator[Any]:
    async with connector(path, **config).open() as session, aclosing(session.stream(tags, resume)) as stream:
        yield stream


async def first(stream: Any, count: int) -> tuple[list[Sample], list[Batch]]:
    """At least so many samples, and the batches that brought them."""
    samples: list[Sample] = []
    taken: list[Batch] = []
    async with asyncio.timeout(WAIT_S):
        while len(samples) < count:
            taken.append(await anext(stream))
            samples += taken[-1].samples
    return samples, taken


async def test_rows_become_samples_with_their_time_and_bad_cells_stand_beside_good_ones(path: Path) -> None:
    run(path, "INSERT INTO r VALUES (1, '2026-07-01 12:00:00', '1,5', 7), (2, '2026-07-01T10:00:00Z', 2, NULL)")
    tags = (Tag("v", "v", options={"data_type": "float"}), Tag("w", "w"), Tag("x", "x"))
    config = {"time_columns": ["at"], "time_zone": "Europe/Berlin", "when_missing": "bad"}
    at = 1_782_900_000_000_000_000
    async with batches(path, tags, **config) as stream:
        samples, _ = await first(stream, 7)
    assert samples == [
        Sample("x", None, BAD_NODE_ID_UNKNOWN),
        Sample("v", None, BAD_TYPE_MISMATCH, at),
        Sample("w", 7, GOOD, at),
        Sample("x", None, BAD_DATA_UNAVAILABLE, at),
        Sample("v", 2.0, GOOD, at),
        Sample("w", None, BAD_DATA_UNAVAILABLE, at),
        Sample("x", None, BAD_DATA_UNAVAILABLE, at),
    ]


async def test_the_long_layout_takes_tag_value_and_quality(path: Path) -> None:
    run(path, "INSERT INTO r VALUES (1, 'a', 1.5, 0), (2, 'b', 2, 0), (3, 'a', 3, 2147483648), (4, 'a', 4, 'x')")
    tags = (Tag("ka", "a"),)
    async with batches(path, tags, tag_column="at", value_column="v", quality_column="w") as stream:
        samples, taken = await first(stream, 2)
    assert samples == [Sample("ka", 1.5), Sample("ka", 3, Quality(0x80000000))]
    assert [reason for batch in taken for _, reason in batch.frames_bad] == ["row id=4: quality is no status code"]


async def test_a_query_with_colons_and_percent_signs_is_taken_as_it_is(path: Path) -> None:
    run(path, "INSERT INTO r VALUES (1, '12:30', 'x%y', 1), (2, '12:31', 'z', 2)")
    query = "SELECT id, v || ':' || at AS \"v: x\" FROM r WHERE at LIKE '12:%' AND v LIKE '%\\%%' ESCAPE '\\'"
    async with batches(path, (Tag("v", "v: x"),), query=query) as stream:
        samples, _ = await first(stream, 1)
    assert [sample.value for sample in samples] == ["x%y:12:30"]


async def test_rows_come_once_in_parts_and_over_restarts_with_ties_and_late_ones(path: Path) -> None:
    run(path, "CREATE TABLE t (k INTEGER, v)")
    run(path, *(f"INSERT INTO t VALUES ({i // 3}, {i})" for i in range(30)))
    found: list[object] = []
    position: Position | None = None
    config = {"table": "t", "key": ["k"], "batch_rows": 4, "overlap_steps": 3}
    for turn in range(8):
        async with batches(path, V, position, **config) as stream:
            samples, taken = await first(stream, 4 if turn < 7 else 2)
        found += [sample.value for sample in samples]
        position = taken[-1].position
    run(path, "INSERT INTO t VALUES (8, 'late'), (9, 'tie'), (5, 'too late'), (10, 'next'), (NULL, 'no key')")
    async with batches(path, V, position, **config) as stream:
        samples, _ = await first(stream, 3)
    assert sorted(found, key=str) == sorted(range(30), key=str)
    assert [sample.value for sample in samples] == ["late", "tie", "next"]


async def test_a_key_of_two_columns_is_compared_column_by_column(path: Path) -> None:
    run(path, "CREATE TABLE t (day TEXT, n INTEGER, v)")
    run(path, "INSERT INTO t VALUES ('b', 1, 3), ('a', 1, 1), ('a', 2, 2), ('b', 2, 4)")
    position: Position | None = None
    found: list[object] = []
    for _ in range(4):
        async with batches(path, V, position, table="t", key=["day", "n"], batch_rows=1) as stream:
            samples, taken = await first(stream, 1)
        found += [sample.value for sample in samples]
        position = taken[-1].position
    assert found == [1, 2, 3, 4]


async def test_start_now_leaves_out_what_is_there_also_when_it_dies_before_the_first_row(path: Path) -> None:
    run(path, "CREATE TABLE t (k INTEGER, v)", "INSERT INTO t VALUES (1, 1), (2, 2), (2, 3)")
    async with batches(path, table="t", key=["k"], start="now") as stream:
        beginning = await anext(stream)
    assert beginning.samples == []
    run(path, "INSERT INTO t VALUES (2, 4), (3, 5)")
    async with batches(path, V, beginning.position, table="t", key=["k"], start="now") as stream:
        samples, _ = await first(stream, 2)
    assert [sample.value for sample in samples] == [4, 5]


async def test_start_now_in_an_empty_table_takes_the_first_row(path: Path) -> None:
    async with batches(path, start="now") as stream:
        await anext(stream)
        run(path, "INSERT INTO r (id, v) VALUES (1, 1)")
        samples, _ = await first(stream, 1)
    assert [sample.value for sample in samples] == [1]


async def test_rows_of_many_columns_are_cut_into_batches_that_fit_one_unit(path: Path) -> None:
    run(path, *(f"INSERT INTO r (id, v) VALUES ({i}, {i})" for i in range(10)))
    tags = tuple(Tag(f"v{i}", "v") for i in range(300))
    async with batches(path, tags) as stream:
        samples, taken = await first(stream, 3000)
    assert [len(batch.samples) for batch in taken] == [0, 600, 600, 600, 600, 600]
    assert len(samples) == 3000


async def code_of(path: Path, **config: Any) -> PlantError:
    with pytest.raises(PlantError) as caught:
        async with batches(path, **config) as stream:
            await first(stream, 10**6)
    return caught.value


async def test_each_fault_has_its_own_code(path: Path) -> None:
    run(path, "INSERT INTO r VALUES (1, 'a', 1, 1)")
    missing = await code_of(path.with_name("no.sqlite"))
    assert (type(missing), missing.code) == (Unreachable, "MS-1701")
    for config in (
        {"table": "no_such_table"},
        {"query": "SELECT no_such_column FROM r"},
        {"query": "SELECT FROM WHERE"},
        {"key": ["no_such_key"]},
        {"time_columns": ["no_such_time"]},
    ):
        refused = await code_of(path, **config)
        assert (type(refused), refused.code) == (Unreachable, "MS-1703"), config
    no_order = await code_of(path, key=["at"], overlap="1s")
    assert (type(no_order), no_order.code) == (ProtocolViolation, "MS-1704")
    driver = await code_of(path, file=None, url="postgresql+no_such_driver://user@localhost/x")
    assert (type(driver), driver.code) == (ConfigError, "MS-1700")


async def test_a_driver_that_is_not_installed_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pg8000", None)
    error = await code_of(path, file=None, url="postgresql+pg8000://user@localhost/x")
    assert (type(error), error.code) == (ConfigError, "MS-0106")
    assert "pg8000" in str(error)


async def test_a_position_of_something_else_is_refused(path: Path) -> None:
    with pytest.raises(DecodeError) as caught:
        async with batches(path, V, Position(b"{}")) as stream:
            await anext(stream)
    assert caught.value.code == "MS-0307"


async def test_nothing_can_be_written_by_construction(path: Path) -> None:
    run(path, "INSERT INTO r VALUES (1, 'a', 1, 1)")
    link = _link.Link(SqlConfig.model_validate({"file": str(path), "table": "r", "key": ["id"]}), _link.Turn())
    try:
        await link.open(None)
        assert link._connection is not None
        with pytest.raises(Exception, match="readonly"):
            link._connection.exec_driver_sql("DELETE FROM r")
    finally:
        await link.close()
    for query in ("DELETE FROM r", "SELECT 1; DELETE FROM r", "WITH x AS (SELECT 1) SELECT 1;"):
        with pytest.raises(ValidationError):
            connector(path, query=query)


async def test_a_query_that_hangs_is_given_up_and_nothing_is_asked_until_it_is_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(path, "INSERT INTO r VALUES (1, 'a', 1, 1)")
    go_on, calls = threading.Event(), []
    original = _link.Link._rows

    def hang(self: _link.Link, ask: _link.Ask) -> Any:
        calls.append(ask)
        assert go_on.wait(WAIT_S)
        return original(self, ask)

    monkeypatch.setattr(_link.Link, "_rows", hang)
    monkeypatch.setattr(_link, "CLOSE_WAIT_S", 0.01)
    sql = connector(path, query_timeout="50ms", connect_timeout="50ms")
    after = 0
    while after < 3:  # under load the first ones are given up before anything was asked
        with pytest.raises(Unreachable) as caught:
            async with sql.open() as session, aclosing(session.stream(V, None)) as stream:
                await first(stream, 1)
        assert caught.value.code == "MS-1701"
        after += bool(calls)
    assert len(calls) == 1
    go_on.set()
    monkeypatch.setattr(_link.Link, "_rows", original)
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                async with sql.open() as session, aclosing(session.stream(V, None)) as stream:
                    samples, _ = await first(stream, 1)
                break
            except Unreachable:
                continue
    assert [sample.value for sample in samples] == [1]


@pytest.mark.parametrize(
    ("state", "words", "expected"),
    [
        ("28P01", "", (AuthError, "MS-1702")),
        (None, "Access denied for user 'x'@'y' (using password: YES)", (AuthError, "MS-1702")),
        (None, "ORA-01017: invalid username/password", (AuthError, "MS-1702")),
        ("42P01", "", (Unreachable, "MS-1703")),
        ("57P01", "terminating connection", (Unreachable, "MS-1701")),
        (None, "server closed the connection", (Unreachable, "MS-1701")),
    ],
)
def test_the_words_of_many_databases_become_few_codes(
    state: str | None, words: str, expected: tuple[type[PlantError], str]
) -> None:
    import sqlalchemy.exc

    class Cause(Exception):
        sqlstate = state

    error = sqlalchemy.exc.OperationalError("SELECT", {}, Cause(words))
    found = _link.fault(error, "db")
    assert (type(found), found.code) == expected


async def test_browse_lists_the_columns(path: Path) -> None:
    async with connector(path).open() as session:
        assert [node.address async for node in session.browse()] == ["id", "at", "v", "w"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "sqlite:///x"},
        {"file": None},
        {"file": None, "url": "localhost"},
        {"file": None, "url": "postgresql://user:secret@host/db"},
        {"file": None, "url": "mssql+pyodbc://host/db?PWD=secret"},
        {"query": "SELECT 1", "table": "r"},
        {"table": None},
        {"key": []},
        {"key": ["a", "b"], "overlap": "1s"},
        {"overlap": "1s", "overlap_steps": 1},
        {"tag_column": "a"},
        {"poll_interval": "0s"},
        {"quality_column": "a"},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SqlConfig.model_validate({"file": "x", "table": "r", "key": ["id"], **wrong})


def test_a_tag_that_cannot_be_right_is_refused(path: Path) -> None:
    for tag in (Tag("a", ""), Tag("a", "b", options={"x": 1})):
        with pytest.raises(ConfigError):
            connector(path).check_tag(tag)
