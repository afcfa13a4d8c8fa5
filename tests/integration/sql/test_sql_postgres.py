"""The SQL connector with a real PostgreSQL: types, losses, logins, and an edge that is killed."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pg8000.dbapi
import pytest
from edge_kit import edge_node, edge_process, status_of, stored_values, until, write_edge
from postgres_peer import PASSWORD, Postgres, postgres

from millstream.config import ConfirmConfig, SqlSystem
from millstream.connectors.sql import SqlConfig, SqlConnector
from millstream.erp import Confirmation, Refused
from millstream.erp._sql import open_sql
from millstream.kernel import AuthError, PlantError, Unreachable
from millstream.model import Sample
from millstream.sdk import ConnectorTools, Position, Tag

pytestmark = pytest.mark.needs("postgres")
WAIT_S = 60.0


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def table(database: Postgres) -> Postgres:
    database.run("DROP TABLE IF EXISTS results")
    database.run("CREATE TABLE results (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), n integer, name text)")
    database.run("GRANT SELECT ON results TO reader")
    return database


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    return path


def connector(server: Postgres, secret: Path, **config: Any) -> SqlConnector:
    fields = {"url": server.url, "secret": {"file": str(secret)}, "key": ["id"], "poll_interval": "10ms", **config}
    if "query" not in fields:
        fields.setdefault("table", "results")
    return SqlConnector(SqlConfig.model_validate(fields), ConnectorTools())


@asynccontextmanager
async def batches(sql: SqlConnector, tags: Sequence[Tag], resume: Position | None = None) -> AsyncIterator[Any]:
    async with sql.open() as session, aclosing(session.stream(tags, resume)) as stream:
        yield stream


async def first(stream: Any, count: int) -> tuple[list[Sample], Position | None]:
    samples: list[Sample] = []
    position: Position | None = None
    async with asyncio.timeout(WAIT_S):
        while len(samples) < count:
            batch = await anext(stream)
            samples += batch.samples
            position = batch.position
    return samples, position


async def error_of(sql: SqlConnector, tags: Sequence[Tag] = (Tag("n", "n"),)) -> PlantError:
    with pytest.raises(PlantError) as caught:
        async with batches(sql, tags) as stream:
            await first(stream, 10**6)
    return caught.value


async def test_a_total_is_put_once_however_often_it_is_told_and_a_newer_one_stands(
    database: Postgres, secret: Path
) -> None:
    database.run("DROP TABLE IF EXISTS done")
    database.run("CREATE TABLE done (no text PRIMARY KEY, good double precision, revision bigint)")
    database.run("GRANT SELECT, INSERT, UPDATE ON done TO reader")
    system = SqlSystem.model_validate({"type": "sql", "url": database.url, "secret": {"file": str(secret)}})
    sql = {"table": "public.done", "key": {"no": "{order}"}, "columns": {"good": "{good}"}}
    config = ConfirmConfig.model_validate({"name": "back", "system": "mes", "sql": sql})
    told = [Confirmation("4711", f"k{n}", n, 10.0 * n, 0.0, {"order": "4711", "good": 10.0 * n}) for n in (1, 2, 3)]
    async with open_sql(system) as one, open_sql(system) as other:
        # Two senders at once: one of them may find that the other was faster, and tells it again.
        first = await asyncio.gather(
            one.confirm(config, told[1]), other.confirm(config, told[1]), return_exceptions=True
        )
        assert all(isinstance(how, str | Unreachable) for how in first)
        assert "set" in first
        assert [await one.confirm(config, each) for each in told] == ["known", "known", "set"]
        assert database.run("SELECT no, good, revision FROM done") == [("4711", 30.0, 3)]
        database.run("REVOKE UPDATE, INSERT ON done FROM reader")
        with pytest.raises(Refused, match="refuses the row"):
            await one.confirm(config, Confirmation("4711", "k4", 4, 1.0, 0.0, {"order": "4711", "good": 1.0}))


async def test_every_type_comes_as_a_value(table: Postgres, secret: Path) -> None:
    columns = {
        "i": ("9223372036854775807::bigint", 2**63 - 1),
        "f": ("'NaN'::float8", float("nan")),
        "d": ("1.25::numeric", 1.25),
        "b": ("true", True),
        "t": ("'ü'", "ü"),
        "raw": ("'\\x00ff'::bytea", b"\x00\xff"),
        "j": ("'{\"a\":[1,2]}'::jsonb", {"a": [1, 2]}),
        "l": ("ARRAY[1,2]", [1, 2]),
        "u": ("'00000000-0000-0000-0000-000000000001'::uuid", "00000000-0000-0000-0000-000000000001"),
        "day": ("DATE '2026-01-01'", "2026-01-01"),
        "span": ("INTERVAL '90 seconds'", 90.0),
    }
    query = "SELECT 1 AS id, TIMESTAMP '2026-07-01 12:00:00.000001' AS at, " + ", ".join(
        f"{text} AS {name}" for name, (text, _) in columns.items()
    )
    sql = connector(table, secret, query=query, time_columns=["at"], time_zone="Europe/Berlin")
    async with batches(sql, [Tag(name, name) for name in columns]) as stream:
        samples, _ = await first(stream, len(columns))
    assert [repr(sample.value) for sample in samples] == [repr(value) for _, value in columns.values()]
    assert {sample.source_time_ns for sample in samples} == {1_782_900_000_000_001_000}


async def test_a_row_that_is_committed_late_is_read_within_the_overlap(table: Postgres, secret: Path) -> None:
    """The trap of every poll by a sequence: the lower number becomes visible after the higher one."""
    sql = connector(table, secret, overlap_steps=10)
    folder = table._folder / f".s.PGSQL.{table.port}"
    late = pg8000.dbapi.connect("postgres", unix_sock=str(folder))
    try:
        late.cursor().execute("INSERT INTO results (n) VALUES (1)")  # takes id 1, not committed
        table.run("INSERT INTO results (n) VALUES (2)")
        async with batches(sql, [Tag("n", "n")]) as stream:
            samples, _ = await first(stream, 1)
            late.commit()
            more, _ = await first(stream, 1)
    finally:
        late.close()
    assert [sample.value for sample in samples + more] == [2, 1]


async def test_a_time_as_key_with_an_overlap_of_time(table: Postgres, secret: Path) -> None:
    noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    rows = [(noon + dt.timedelta(seconds=s), i) for i, s in enumerate((0, 5, 5))]
    table.run("INSERT INTO results (at, n) VALUES (%s, %s)", rows)
    sql = connector(table, secret, key=["at"], overlap="10s")
    async with batches(sql, [Tag("n", "n")]) as stream:
        samples, position = await first(stream, 3)
    late = [(noon - dt.timedelta(seconds=60), 8), (noon + dt.timedelta(seconds=1), 9), (rows[2][0], 10)]
    table.run("INSERT INTO results (at, n) VALUES (%s, %s)", late)
    async with batches(sql, [Tag("n", "n")], position) as stream:
        more, _ = await first(stream, 2)
    assert sorted(int(str(sample.value)) for sample in samples + more) == [0, 1, 2, 9, 10]


async def test_each_refusal_has_its_own_code(table: Postgres, secret: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong horse")
    login = await error_of(connector(table, wrong))
    assert (type(login), login.code) == (AuthError, "MS-1702")
    assert "wrong horse" not in str(login)
    table.run("CREATE TABLE IF NOT EXISTS hidden (id int, n int)")
    for config in ({"table": "hidden"}, {"table": "nowhere"}, {"query": "SELECT 1/0 AS n, 1 AS id"}):
        refused = await error_of(connector(table, secret, **config))
        assert (type(refused), refused.code) == (Unreachable, "MS-1703"), config


async def test_nothing_can_be_written_even_by_a_user_who_may(table: Postgres, secret: Path) -> None:
    table.run("GRANT ALL ON results TO reader")
    table.run("GRANT ALL ON SEQUENCE results_id_seq TO reader")
    for query in (
        "WITH x AS (INSERT INTO results (n) VALUES (1) RETURNING id) SELECT id, 1 AS n FROM x",
        "SELECT nextval('results_id_seq') AS id, 1 AS n",
    ):
        refused = await error_of(connector(table, secret, query=query))
        assert (type(refused), refused.code) == (Unreachable, "MS-1703")
    assert table.run("SELECT count(*) FROM results") == [(0,)]


async def test_a_query_that_takes_too_long_is_ended_by_the_server_too(table: Postgres, secret: Path) -> None:
    sql = connector(table, secret, query="SELECT 1 AS id, pg_sleep(3600)::text AS n", query_timeout="300ms")
    late = await error_of(sql)
    assert (type(late), late.code) == (Unreachable, "MS-1701")
    async with asyncio.timeout(WAIT_S):
        while table.run("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%3600%'") != [
            (1,)  # the one that asks
        ]:
            await asyncio.sleep(0.05)


async def test_a_lost_server_is_unreachable_and_nothing_is_lost_or_doubled_when_it_is_back(secret: Path) -> None:
    with postgres() as server:
        server.run("CREATE TABLE results (id bigserial PRIMARY KEY, n integer)")
        server.run("GRANT SELECT ON results TO reader")
        server.run("INSERT INTO results (n) SELECT generate_series(1, 50)")
        sql = connector(server, secret)
        positions: list[Position | None] = []

        async def follow() -> None:
            async with batches(sql, [Tag("n", "n")]) as stream:
                samples, position = await first(stream, 50)
                assert [sample.value for sample in samples] == list(range(1, 51))
                positions.append(position)
                await asyncio.to_thread(server.stop)
                await first(stream, 1)

        with pytest.raises(Unreachable) as caught:
            await follow()
        assert caught.value.code == "MS-1701"
        down = await error_of(sql)
        assert (type(down), down.code) == (Unreachable, "MS-1701")
        await asyncio.to_thread(server.start)
        server.run("INSERT INTO results (n) VALUES (51)")
        async with batches(sql, [Tag("n", "n")], positions[0]) as stream:
            more, _ = await first(stream, 1)
        assert [sample.value for sample in more] == [51]


async def test_a_key_beyond_32_bits_and_one_in_another_zone_are_asked_for_as_they_are(
    table: Postgres, secret: Path
) -> None:
    """Traps: a parameter cast to INTEGER overflows, and one cast to a timestamp without zone means another time."""
    table.run("ALTER ROLE reader SET timezone = 'Asia/Tokyo'")
    table.run(f"INSERT INTO results (id, at, n) VALUES ({2**40}, '2026-01-01T00:00:00Z', 1)")
    table.run(f"INSERT INTO results (id, at, n) VALUES ({2**40 + 1}, '2026-01-01T00:00:01Z', 2)")
    try:
        for key in ("id", "at"):
            sql = connector(table, secret, key=[key], batch_rows=1)
            async with batches(sql, [Tag("n", "n")]) as stream:
                samples, position = await first(stream, 1)
            async with batches(sql, [Tag("n", "n")], position) as stream:
                more, _ = await first(stream, 1)
            assert [sample.value for sample in samples + more] == [1, 2]
    finally:
        table.run("ALTER ROLE reader RESET timezone")


async def test_a_connection_that_the_server_ends_is_unreachable(table: Postgres, secret: Path) -> None:
    async def follow() -> None:
        async with batches(connector(table, secret), [Tag("n", "n")]) as stream:
            await anext(stream)
            table.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'")
            await first(stream, 1)

    with pytest.raises(Unreachable) as caught:
        await follow()
    assert caught.value.code == "MS-1701"


EDGE = """
  - name: mes
    type: sql
    path: mes
    config:
      url: {url}
      secret: {{file: password}}
      table: results
      key: [id]
      overlap_steps: 200
      batch_rows: 70
      poll_interval: 5ms
    tags:
      - {{name: n, address: n}}
      - {{name: name, address: name}}
"""


async def test_kill_9_of_an_edge_while_rows_come_loses_and_doubles_nothing(
    table: Postgres, secret: Path, tmp_path: Path
) -> None:
    path = write_edge(tmp_path, EDGE.format(url=table.url))
    count = 0
    for _ in range(2):
        async with edge_process(path):
            for _ in range(12):
                numbers = f"generate_series({count}, {count + 49}) i"
                table.run(f"INSERT INTO results (n, name) SELECT i, 'row ' || i FROM {numbers}")
                count += 50
                await asyncio.sleep(0.005)
    async with edge_node(path) as node:
        await until(lambda: status_of(node)["samples_stored"] == 2 * count, lambda: status_of(node))
        values, verifier = await stored_values(node)
        assert values["n"] == list(range(count))
        assert values["name"] == [f"row {i}" for i in range(count)]
        assert verifier.accounts["E_e1_I"].is_clean
