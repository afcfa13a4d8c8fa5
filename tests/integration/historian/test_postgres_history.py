"""A history in a real PostgreSQL: each row once through kill -9 of either side, and the answers of the embedded one."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from forward_site import client_of, until
from history_kit import BAD, T0, TAGS, S
from postgres_peer import PASSWORD, Postgres
from server_suite import (
    Filled,
    check_a_copy,
    check_a_stopped_question,
    check_all_questions,
    check_retention,
    check_rollups,
    check_values_times_and_corrections,
    check_what_is_beside,
    kill_again_and_again,
)
from test_kill_nine import Server
from trust_site import hub_of, trusted_hub

import warm
from millstream.api._metrics import metrics_text
from millstream.config import HubConfig
from millstream.historian import Last, PostgresServer
from millstream.historian._events import EventRow
from millstream.historian._last import LastValues
from millstream.historian._postgres_engine import PostgresQuestions
from millstream.historian._postgres_store import PostgresStore
from millstream.historian._server import ServerUpkeep
from millstream.historian._store import HistoryStoreError
from millstream.historian._tags import TagDictionary
from millstream.hub import HubNode
from millstream.kernel import FencedError, free_port

pytestmark = pytest.mark.needs("postgres")


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


class InPostgres(Filled):
    """A store in PostgreSQL."""

    def empty(self) -> None:
        with self.store.reading() as link:
            link.run("TRUNCATE readings, rollups, events, tags, sink_pos, counters, dead_letters")
        self.store.last, self.store._order, self.store.rolled_until_ns = LastValues(), 0, None

    def questions(self, tags: TagDictionary) -> PostgresQuestions:
        return PostgresQuestions(self.store, tags)


@pytest.fixture
def filled(database: Postgres) -> Iterator[InPostgres]:
    made = InPostgres(PostgresStore(server_of(database, "asked")))
    yield made
    made.store.close()


def test_all_questions_agree_with_the_reference(filled: InPostgres) -> None:
    check_all_questions(filled)


def test_values_times_and_corrections_are_those_of_the_embedded_history(filled: InPostgres) -> None:
    check_values_times_and_corrections(filled)


def test_what_is_beside_the_rows_is_stored_with_them_and_a_repeat_is_not(filled: InPostgres) -> None:
    check_what_is_beside(filled)


async def test_each_tag_is_kept_as_its_rule_says(filled: InPostgres) -> None:
    await check_retention(
        filled, lambda store, book, on_writer, clock: ServerUpkeep(store, book, on_writer=on_writer, clock=clock)
    )


async def test_windows_have_the_same_numbers_after_the_samples_went(
    filled: InPostgres, database: Postgres, tmp_path: Path
) -> None:
    await check_rollups(
        filled, lambda store, book, on_writer, clock: ServerUpkeep(store, book, on_writer=on_writer, clock=clock),
        tmp_path, server_of(database, "rolled"),
    )  # fmt: skip


def test_a_backup_has_all_of_it_and_another_server_takes_it(
    filled: InPostgres, database: Postgres, tmp_path: Path
) -> None:
    check_a_copy(filled, tmp_path, server_of(database, "restored"))


def test_each_panel_of_the_dashboard_reads_the_tables(filled: InPostgres) -> None:
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
    filled: InPostgres, database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = filled.store.server
    with pytest.raises(HistoryStoreError) as caught:
        PostgresStore(PostgresServer(good.url, good.user, lambda: "wrong", good.schema)).open()
    assert caught.value.code == "MS-0424"
    assert "wrong" not in str(caught.value)
    monkeypatch.setattr("millstream.historian._postgres_store.LOCK_WAIT_S", 1)
    with pytest.raises(FencedError, match="another process"):
        PostgresStore(good).open()
    check_a_stopped_question(filled)


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

    def restart() -> None:
        database.stop()
        database.start()

    total, last_seq = await kill_again_and_again(server, folder, url, restart)
    stored = database.run(
        "SELECT count(*), count(DISTINCT number) FROM (SELECT value::text AS number FROM millstream.readings "
        "UNION ALL SELECT id::float8::text FROM millstream.events) each"
    )
    assert stored == [(total, total)]
    assert database.run("SELECT last_seq FROM millstream.sink_pos") == [(last_seq,)]


async def test_a_hub_with_its_history_here_is_backed_up_and_restored(database: Postgres, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)

    def document(name: str) -> dict[str, Any]:
        engine = {"type": "postgresql", "url": server_of(database, name).url, "user": "plant", "schema_name": name}
        engine["password"] = {"file": str(tmp_path / "password")}
        hub = {"name": "h1", "data_dir": str(tmp_path / name)}
        return {"hub": hub, "streams": {"max_bytes": "64MiB"}, "historian": {"engine": engine}}

    async with HubNode(HubConfig.model_validate(document("before"))) as hub:
        task = asyncio.ensure_future(hub.run())
        try:
            async with client_of(hub.server) as client:
                for number in range(3):
                    await client.request("uns.v1.acme.hub._tag.own", b'{"timestamp_ms":%d,"value":7}' % number)
            await until(lambda: _has_samples(hub, 3), "what was published in the history")
            await _millstream("backup", str(tmp_path / "backup"), "--node", str(tmp_path / "before"))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    (tmp_path / "hub.yaml").write_text(json.dumps(document("after")))
    said = await _millstream("restore", str(tmp_path / "backup"), "-c", str(tmp_path / "hub.yaml"))
    assert "3 samples into" in said
    assert not (tmp_path / "after" / "historian").exists()
    own = "SELECT path, value FROM {}.samples WHERE path = 'acme/hub:own'"
    assert await asyncio.to_thread(database.run, own.format("after")) == [("acme/hub:own", 7.0)] * 3
    positions = "SELECT stream, max(last_seq) FROM {}.sink_pos GROUP BY 1 ORDER BY 1"
    restored = await asyncio.to_thread(database.run, positions.format("after"))
    assert restored == await asyncio.to_thread(database.run, positions.format("before"))

    # On three boxes with one server behind them the one that makes the streams puts the history there, once.
    (tmp_path / "cluster.secret").write_text(PASSWORD)
    members = {name: f"127.0.0.1:{free_port()}" for name in "abc"}
    cluster = {"members": members, "secret": {"file": str(tmp_path / "cluster.secret")}, "host": "127.0.0.1"}
    restoring = []
    for name in members:
        raw = document("three")
        raw |= {"cluster": {"member": name, **cluster}, "hub": {"name": "h1", "data_dir": str(tmp_path / name)}}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(raw))
        restoring.append(_millstream("restore", str(tmp_path / "backup"), "-c", str(tmp_path / f"{name}.yaml")))
    told = await asyncio.gather(*restoring)
    assert sum("3 samples into" in said for said in told) == 1, told
    assert await asyncio.to_thread(database.run, own.format("three")) == [("acme/hub:own", 7.0)] * 3
    restored = await asyncio.to_thread(database.run, positions.format("three"))
    assert restored == await asyncio.to_thread(database.run, positions.format("before"))


async def test_a_hub_whose_database_never_came_up_says_so_and_stores_all_once_it_does(
    cluster: Postgres, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    engine = {"type": "postgresql", "url": server_of(cluster, "late").url, "user": "plant", "schema_name": "late"}
    document = {
        "hub": {"name": "h1", "data_dir": str(tmp_path / "hub")}, "streams": {"max_bytes": "64MiB"},
        "historian": {"engine": {**engine, "password": {"file": str(tmp_path / "password")}}},
    }  # fmt: skip
    async with HubNode(HubConfig.model_validate(document)) as hub:
        task = asyncio.ensure_future(hub.run())
        try:
            historian = hub.historian
            assert historian is not None
            async with client_of(hub.server) as client:
                for count in (2, 5):  # it grows

                    async def lags(count: int = count) -> bool:
                        return sum(s.lag_messages or 0 for s in (await historian.stats()).streams) >= count

                    for number in range(count):
                        await client.request("uns.v1.acme.hub._tag.own", b'{"timestamp_ms":%d,"value":7}' % number)
                    await until(lags, f"a lag of {count}")
            text = metrics_text(await historian.stats())
            assert 'millstream_historian_state{state="waiting"} 1' in text
            assert 'millstream_historian_state{state="running"} 0' in text
            assert re.search(r'lag_messages\{stream="H_INTEGRITY"\} [1-9]', text)
            assert 'held_back{stream="H_INTEGRITY"} 1' in text
            with pytest.raises(HistoryStoreError, match="has not answered yet") as refused:
                await historian.query(Last(tags=("*",)))
            assert refused.value.code == "MS-0423"
            cluster.start()
            await until(lambda: _has_samples(hub, 7), "what was published in the history")
            assert historian.state == "running"
            cluster.stop()
            await until(lambda: _is_held(hub), "that it is told of")
            assert (await historian.stats()).samples >= 7  # as it was told last
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            cluster.stop()


async def _is_held(hub: HubNode) -> bool:
    assert hub.historian is not None
    return (await hub.historian.stats()).error is not None


async def test_the_histories_of_tenants_here_are_restored_each_into_its_own_tables(
    database: Postgres, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(PASSWORD)

    def history(name: str) -> dict[str, Any]:
        engine = {"type": "postgresql", "url": server_of(database, name).url, "user": "plant", "schema_name": name}
        return {"historian": {"engine": {**engine, "password": {"file": str(tmp_path / "password")}}}}

    async def stored(name: str, tenant: str) -> list[tuple[Any, ...]]:
        """All that a tenant's tables hold, but for what the hub itself says."""
        asked = f"SELECT path, value, count(*) FROM {name}_{tenant}.samples WHERE path LIKE '%/line:%' GROUP BY 1, 2"
        return sorted(await asyncio.to_thread(database.run, asked))

    async def wait_stored(name: str, tenant: str, *wanted: tuple[Any, ...]) -> None:
        async def is_there() -> bool:
            return await stored(name, tenant) == list(wanted)

        await until(is_there, f"{wanted} in the history of {tenant}")

    async with trusted_hub(tmp_path, "acme", "beta", more=history("whole")) as site:
        operator = site.operator
        for tenant, values in (("acme", (1.0, 2.0)), ("beta", (7.0,))):
            async with site.plant(tenant) as plant:
                for value in values:
                    await plant.publish(f"{tenant}/line:n", value)
        await wait_stored("whole", "acme", ("acme/line:n", 1.0, 1), ("acme/line:n", 2.0, 1))
        await wait_stored("whole", "beta", ("beta/line:n", 7.0, 1))
        await _millstream("backup", str(tmp_path / "backup"), "--node", str(tmp_path / "hub"))

    shutil.rmtree(tmp_path / "hub")
    document = {
        "hub": {"name": "h1", "data_dir": str(tmp_path / "hub")}, "streams": {"max_bytes": "64MiB"},
        "trust": {"file": str(operator.hub_file)}, **history("again"),
    }  # fmt: skip
    (tmp_path / "hub.yaml").write_text(json.dumps(document))
    said = await _millstream("restore", str(tmp_path / "backup"), "-c", str(tmp_path / "hub.yaml"))
    for tenant in ("acme", "beta"):
        assert f"history of {tenant}: " in said
        assert await stored("again", tenant) == await stored("whole", tenant)
        assert not (tmp_path / "hub" / "historian" / tenant).exists()

    # The restored hub reads on behind what the tables hold: nothing twice, nothing missing.
    async with hub_of(operator, history("again")) as site:
        async with site.plant("acme") as plant:
            await plant.publish("acme/line:n", 3.0)
        await wait_stored("again", "acme", *(("acme/line:n", value, 1) for value in (1.0, 2.0, 3.0)))

    # A server that holds a history takes no other, and what it holds stays.
    shutil.rmtree(tmp_path / "hub")
    refused = await _millstream("restore", str(tmp_path / "backup"), "-c", str(tmp_path / "hub.yaml"), expected=None)
    assert "MS-2621" in refused
    assert "again_acme" in refused
    assert await stored("again", "beta") == [("beta/line:n", 7.0, 1)]


async def _has_samples(hub: HubNode, count: int) -> bool:
    assert hub.historian is not None
    return (await hub.historian.stats()).samples >= count


async def _millstream(*arguments: str, expected: int | None = 0) -> str:
    """What it says, when it ends well (None: when it does not)."""
    process = await asyncio.create_subprocess_exec(
        *warm.command(*arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == expected or (expected is None and process.returncode), out.decode()
    return out.decode()
