"""`millstream flow`: what people see and decide, and an instance that is started elsewhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from flow_site import FLOW, command, edge_of, flow_status, instance, outputs, rows_of, until, write_site


async def test_a_flow_is_listed_paused_resumed_replayed(tmp_path: Path) -> None:
    path = write_site(tmp_path, rows=200, pause="50ms")
    async with edge_of(path) as edge:
        node = ("--node", str(tmp_path / "data"))
        await until(lambda: flow_status(edge)["state"] == "running", "running", tell=lambda: flow_status(edge))
        _, found, _ = await command("flow", "list", *node)
        assert [(n["node"], f["name"], f["version"]) for n in found["nodes"] for f in n["flows"]] == [("e1", "rows", 1)]
        assert (await command("flow", "pause", "rows", *node))[1]["is_paused"] is True
        _, found, _ = await command("flow", "status", "e1/rows", *node)
        assert found["state"] == "paused"
        assert (await command("flow", "resume", "rows", *node))[0] == 0
        status, found, _ = await command("flow", "replay", "rows", "--from", "beginning", *node)
        assert (status, found["version"]) == (0, 2)
        status, _, err = await command("flow", "pause", "rose", *node)
        assert status == 3
        assert "e1/rows" in err

        async def is_done() -> bool:
            _, lag, _ = await command("flow", "lag", "rows", *node)
            is_level = sum(p["behind_messages"] for p in lag["partitions"]) == 0
            return is_level and len(rows_of(await outputs(edge.server))) >= 200

        await until(is_done, "no lag", tell=lambda: flow_status(edge))
        assert rows_of(await outputs(edge.server)) == list(range(1, 201))


async def test_instances_from_elsewhere_share_the_work_and_replace_each_other(tmp_path: Path) -> None:
    flow = {**FLOW, "partitions": 2, "instances": 0}
    path = write_site(tmp_path, flows=[flow], rows=400, machines=4, pause="60ms")
    async with edge_of(path) as edge:

        def instances() -> int:
            return len({part["instance"] for part in flow_status(edge)["partitions"]})

        async def has(rows: int) -> bool:
            found = await outputs(edge.server)
            return all(len(rows_of(found, m)) >= rows for m in range(4))

        with instance(tmp_path, flow) as first:
            await until(lambda: instances() == 1, "one runs", tell=lambda: flow_status(edge))
            with instance(tmp_path, flow):
                await until(lambda: instances() == 2, "both run", tell=lambda: flow_status(edge))
                os.kill(first.pid, signal.SIGKILL)
                await until(lambda: has(100), "it goes on", tell=lambda: flow_status(edge))
                with instance(tmp_path, flow):
                    await until(lambda: instances() == 2, "both run again", tell=lambda: flow_status(edge))
                await until(lambda: has(400), "all rows", tell=lambda: flow_status(edge))
        found = await outputs(edge.server)
        assert [rows_of(found, m) for m in range(4)] == [list(range(1, 401))] * 4
