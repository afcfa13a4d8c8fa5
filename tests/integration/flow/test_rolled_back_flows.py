"""A flow whose stream is gone does not say everything again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from flow_site import FLOW, ask, client_of, edge_of, flow_status, outputs, rows_of, until, write_site

from millstream.bus import NatsServer, StreamApi
from millstream.edge import EdgeNode
from millstream.flow import decode_commit
from millstream.model import AssetPath
from millstream.worker import state_subject

OTHER = {"name": "other", "type": "part_counter", "inputs": ["acme/**:nothing"]}  # keeps the flows' stream in use


async def newest_record(server: NatsServer, partition: int) -> tuple[int, int]:
    """Sequence of a partition's newest state record, and from where on its state is rebuilt."""
    subject = state_subject(AssetPath.parse("acme/p1"), "e1", "rows", 1, partition)
    async with client_of(server) as connection:
        found = await StreamApi(connection).last("E_e1_F", subject)
    assert found is not None
    return found.seq, decode_commit(found.payload).restore_seq


async def forget_below(server: NatsServer, seq: int) -> None:
    """As the node does with what it needs no more."""
    async with client_of(server) as connection:
        await StreamApi(connection).request("STREAM.PURGE.E_e1_F", {"seq": seq})


def held(edge: EdgeNode) -> list[str]:
    """The alarms of the flow."""
    alarms: Any = edge.status()["alarms"]
    return [a["message"] for a in alarms if a["code"] == "MS-0707" and "flow rows" in a["message"]]


@pytest.mark.parametrize("what", ["all of its records", "the older ones", "those of one partition"])
async def test_a_flow_that_comes_back_after_its_state_was_trimmed_never_speaks_twice(tmp_path: Path, what: str) -> None:
    """Taken out of the file, it holds nothing back; put in again, it finds its old inputs, but not its state."""
    log: list[str] = []
    rows, machines, flow = 60, 8, {**FLOW, "partitions": 2}

    left: list[Any] = []

    async def all_rows(edge: EdgeNode, count: int) -> bool:
        found = (await outputs(edge.server))[len(left) :]
        return all(len(rows_of(found, machine)) >= count for machine in range(machines))

    path = write_site(tmp_path, flows=[flow, OTHER], machines=machines, rows=rows, pause="20ms")
    async with edge_of(path, log) as edge:
        await until(lambda: all_rows(edge, rows), "all rows", tell=lambda: (flow_status(edge), log))
        spoken = {(subject, origin) for subject, _, _, origin in await outputs(edge.server)}
    path = write_site(tmp_path, flows=[OTHER], machines=machines, rows=rows)
    async with edge_of(path, log) as edge:
        (one, needed_one), (two, needed_two) = [await newest_record(edge.server, number) for number in (0, 1)]
        assert min(needed_one, needed_two) < min(one, two)
        below = {"all of its records": max(one, two) + 1, "the older ones": min(one, two)}
        await forget_below(edge.server, below.get(what, max(one, two)))
        left = await outputs(edge.server)
    path = write_site(tmp_path, flows=[flow, OTHER], machines=machines, rows=rows + 1000, pause="100ms")
    async with edge_of(path, log) as edge:
        assert flow_status(edge)["state"] == "refused"
        [text] = held(edge)
        assert "millstream flow reset rows" in text
        assert await outputs(edge.server) == left
        assert "error" not in await ask(edge, "reset")
        await until(lambda: all_rows(edge, 10), "new rows", tell=lambda: (flow_status(edge), log))
        found = (await outputs(edge.server))[len(left) :]
        assert {mark for _, _, mark, _ in found} == {"rows/2/0", "rows/2/1"}
        assert not spoken & {(subject, origin) for subject, _, _, origin in found}, "said twice"
        for machine in range(machines):
            assert rows_of(found, machine) == list(range(1, len(rows_of(found, machine)) + 1))
        assert held(edge) == []
        refused = await ask(edge, "reset")
        assert refused["error"]["code"] == "MS-0706", "a flow that has its state keeps it"
    async with edge_of(path, log) as edge:  # it is the same flow after a restart
        assert flow_status(edge)["version"] == 2
        await until(lambda: all_rows(edge, 60), "more rows", tell=lambda: (flow_status(edge), log))
        found = (await outputs(edge.server))[len(left) :]
        for machine in range(machines):
            assert rows_of(found, machine) == list(range(1, len(rows_of(found, machine)) + 1))


async def test_a_flow_that_comes_back_in_time_goes_on_where_it_was(tmp_path: Path) -> None:
    log: list[str] = []
    async with edge_of(write_site(tmp_path, flows=[FLOW, OTHER], rows=50), log) as edge:

        async def has(count: int) -> bool:
            return len(rows_of(await outputs(edge.server))) >= count

        await until(lambda: has(50), "50 rows", tell=lambda: (flow_status(edge), log))
    async with edge_of(write_site(tmp_path, flows=[OTHER], rows=80), log) as edge:
        await until(lambda: flow_status(edge)["state"] == "running", "the other one", tell=lambda: log)
    async with edge_of(write_site(tmp_path, flows=[FLOW, OTHER], rows=100), log) as edge:
        await until(lambda: has(100), "100 rows", tell=lambda: (flow_status(edge), log))
        assert rows_of(await outputs(edge.server)) == list(range(1, 101))


async def test_a_flow_whose_state_is_gone_waits_for_a_person(tmp_path: Path) -> None:
    log: list[str] = []
    path = write_site(tmp_path, rows=50)
    async with edge_of(path, log) as edge:

        async def is_done() -> bool:
            return len(rows_of(await outputs(edge.server))) >= 50

        await until(is_done, "50 rows", tell=lambda: (flow_status(edge), log))
    [store] = (tmp_path / "data").rglob("streams/E_e1_F")
    shutil.rmtree(store)
    async with edge_of(path, log) as edge:
        assert flow_status(edge)["state"] == "refused"
        assert flow_status(edge)["output"] == "E_e1_F_g2"
        assert "MS-0707" in {alarm["code"] for alarm in edge.status()["alarms"]}  # type: ignore[attr-defined]
        assert await outputs(edge.server, "E_e1_F_g2") == []
    path = write_site(tmp_path, flows=[{**FLOW, "version": 2, "start": "now"}], rows=20_000, pause="100ms")
    async with edge_of(path, log) as edge:

        async def has_some() -> bool:
            return len(rows_of(await outputs(edge.server, "E_e1_F_g2"))) >= 20

        await until(has_some, "new rows", tell=lambda: (flow_status(edge), log))
        found = await outputs(edge.server, "E_e1_F_g2")
        assert rows_of(found) == list(range(1, len(rows_of(found)) + 1))
        assert {mark for _, _, mark, _ in found} == {"rows/2/0"}
