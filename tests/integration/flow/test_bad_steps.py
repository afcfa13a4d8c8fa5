"""Steps that raise, never end or grow: their input is kept with the reason, and everything else goes on."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

from flow_site import FLOW, FLOW_FILE, client_of, edge_of, flow_status, kill_now, outputs, rows_of, until, write_site

from millstream.bus import StreamApi, StreamReader
from millstream.edge import EdgeNode
from millstream.protocols.nats_wire import parse_headers


async def letters(edge: EdgeNode) -> list[dict[str, str]]:
    """The headers of all dead letters."""
    async with client_of(edge.server) as connection:
        state = await StreamApi(connection).state("E_e1_DLQ")
        if not state.messages:
            return []
        async with aclosing(StreamReader(connection).read("E_e1_DLQ")) as batches:
            async for batch in batches:
                return [dict(parse_headers(message.headers).values) for message in batch]
    return []


async def test_bad_inputs_go_into_quarantine_and_the_others_count(tmp_path: Path) -> None:
    log: list[str] = []
    other = {**FLOW, "name": "other"}
    path = write_site(tmp_path, flows=[FLOW, other], rows=60, odd={"10": -1, "20": -2, "30": -3})
    async with edge_of(path, log) as edge:

        async def is_done() -> bool:
            return len(rows_of(await outputs(edge.server))) >= 2 * 57

        await until(is_done, "57 rows of both flows", tell=lambda: (flow_status(edge), log))
        for name in ("rows/1/0", "other/1/0"):
            mine = [found for found in await outputs(edge.server) if found[2] == name]
            assert rows_of(mine) == list(range(1, 58))
        found = [letter for letter in await letters(edge) if letter["Ms-Source"] == "flow rows"]
        assert [letter["Ms-Code"] for letter in found] == ["MS-0702", "MS-0703", "MS-0704"]
        assert "ValueError: no such row" in found[0]["Ms-Reason"]
        assert "mine.py" in found[0]["Ms-Detail"]
        assert "longer than 0.3 s" in found[1]["Ms-Reason"]
        assert found[0]["Ms-Subject"] == "uns.v1.acme.p1.m0._tag.row"
        assert "MS-0702" in {alarm["code"] for alarm in edge.status()["alarms"]}  # type: ignore[attr-defined]
        assert flow_status(edge)["workers"][0]["starts_count"] == 1


STUBBORN = '''
from millstream.flow import Emit, Flow, Input


def count(state, event):
    """Swallows every interruption."""
    while event.value == 10:
        try:
            while True:
                pass
        except Exception:
            pass
    return state + 1, [Emit(f"{event.key}:rows", state + 1, event.time_ns)]


flow = Flow(name="rows", inputs=(Input("acme/**:row"),), step=count, initial=int, state_type=int)
'''


async def test_a_step_that_swallows_its_interruption_is_ended_and_its_input_rejected(tmp_path: Path) -> None:
    log: list[str] = []
    path = write_site(tmp_path, rows=60, flow_file=STUBBORN, flows=[{**FLOW, "step_timeout": "100ms"}])
    async with edge_of(path, log) as edge:

        async def is_done() -> bool:
            return len(rows_of(await outputs(edge.server))) >= 59

        await until(is_done, "59 rows", tell=lambda: (flow_status(edge), log))
        assert rows_of(await outputs(edge.server)) == list(range(1, 60))
        [letter] = await letters(edge)
        assert letter["Ms-Code"] == "MS-0703"


HUNGRY = '''
from millstream.flow import Emit, Flow, Input

KEPT = []


def count(state, event):
    """Wants too much for itself, or keeps more and more."""
    if event.value == 10:
        bytearray(1 << 40)
    if event.value == 20:
        while True:
            KEPT.append(bytearray(1 << 20))
    if event.value >= 30:
        KEPT.append(bytearray(4 << 20))
    return state + 1, [Emit(f"{event.key}:rows", state + 1, event.time_ns)]


flow = Flow(name="rows", inputs=(Input("acme/**:row"),), step=count, initial=int, state_type=int)
'''


async def test_a_step_that_keeps_more_and_more_ends_its_own_worker_and_nothing_is_lost(tmp_path: Path) -> None:
    log: list[str] = []
    (tmp_path / "other.py").write_text(FLOW_FILE, encoding="utf-8")
    other = {**FLOW, "name": "other", "python": "other.py:flow"}
    hungry = {**FLOW, "max_memory": "128MiB", "step_timeout": "30s"}  # it is memory that ends it, not time
    path = write_site(tmp_path, flows=[hungry, other], rows=80, flow_file=HUNGRY)
    async with edge_of(path, log) as edge:

        def tell() -> object:
            return edge.status()["flows"], log

        async def said(name: str) -> list[int]:
            return rows_of([found for found in await outputs(edge.server) if found[2].startswith(f"{name}/")])

        async def is_done() -> bool:
            return len(await said("rows")) >= 78 and len(await said("other")) >= 80

        await until(is_done, "78 rows of the hungry flow", tell=tell)
        assert await said("rows") == list(range(1, 79))
        assert await said("other") == list(range(1, 81))
        # Two inputs were too much by themselves; those that only met a full process are not among them.
        found = await letters(edge)
        assert [(letter["Ms-Code"], letter["Ms-Source"]) for letter in found] == [("MS-0704", "flow rows")] * 2
        assert "wants more memory than there is" in found[0]["Ms-Reason"]
        assert "mine.py:" in found[0]["Ms-Reason"]
        assert "this event has filled two processes" in found[1]["Ms-Reason"]
        assert flow_status(edge)["workers"][0]["starts_count"] >= 4  # twice for one input, and for what was kept
        assert flow_status(edge, 1)["workers"][0]["starts_count"] == 1
        alarms = [alarm["message"] for alarm in edge.status()["alarms"] if alarm["code"] == "MS-0705"]  # type: ignore[attr-defined]
        assert len(alarms) == 1
        assert "flow rows" in alarms[0]
        assert "more in memory than 'max_memory' allows" in alarms[0]


async def test_killed_servers_and_workers_cost_nothing(tmp_path: Path) -> None:
    log: list[str] = []
    flow: dict[str, Any] = {**FLOW, "partitions": 2, "instances": 2}
    path = write_site(tmp_path, flows=[flow], rows=600, machines=4, pause="60ms")
    async with edge_of(path, log) as edge:

        async def has(rows: int) -> bool:
            found = await outputs(edge.server)
            return all(len(rows_of(found, m)) >= rows for m in range(4))

        def tell() -> object:
            return flow_status(edge), log

        for target in (50, 150, 250):
            await until(lambda target=target: has(target), f"{target} rows", tell=tell)  # type: ignore[misc]
            pids = [worker["pid"] for worker in flow_status(edge)["workers"] if worker["pid"] is not None]
            for pid in (edge.server.pid, *pids[: target // 100]):
                kill_now(pid)
        await until(lambda: has(600), "all rows", tell=tell)
        found = await outputs(edge.server)
        assert [rows_of(found, m) for m in range(4)] == [list(range(1, 601))] * 4
