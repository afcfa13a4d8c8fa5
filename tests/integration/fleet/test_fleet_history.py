"""An edge's own history: bounded, there when the hub is away, and asked by the hub with an account of who has none."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pa_parquet
from fleet_site import CATALOG, Site, site, until

import warm
from millstream.client import Plant, connect
from millstream.config import EdgeConfig
from millstream.edge import EdgeNode
from millstream.kernel import SystemClock

HISTORY = {"hot_window": "1h", "retention": "7d", "max_bytes": "64MiB"}


def historian_of(edge: EdgeNode) -> dict[str, Any]:
    found: Any = edge.status()["historian"]
    return found or {"samples": 0}


async def has_stored(edge: EdgeNode, count: int) -> None:
    await until(lambda: historian_of(edge)["samples"] >= count, f"{count} samples in the edge's history")


async def values(plant: Plant, pattern: str) -> list[Any]:
    table = await plant.history(pattern, "-1h")
    return sorted(table.column("value").to_pylist()) if len(table) else []


async def test_a_question_reaches_the_histories_at_the_edges_and_says_who_has_none(tmp_path: Path) -> None:
    async with (
        site(tmp_path, ["e1", "e2", "e3"]) as made, made.edge("e1", rows=300, historian=HISTORY) as edge,
        made.edge("e2", rows=5),
    ):  # fmt: skip
        await has_stored(edge, 600)
        async with made.plant() as plant:
            await check_fleet(plant)
        async with made.plant("e1") as plant:  # the edge's own: the hub of this test keeps none
            assert await values(plant, "acme/e1/line:n") == list(range(300))
        await check_command(made)


async def check_fleet(plant: Plant) -> None:
    run = plant.fleet.data("acme/*/line:n", start=0, history=True)
    table = await run.table()
    assert run.summary is not None
    assert sorted(table.column("value").to_pylist()) == list(range(300))
    assert {name: account.rows for name, account in run.summary.nodes.items()} == {"e1": 300, "e2": 0, "e3": 0}
    assert run.summary.missing == ["e2", "e3"]
    assert "keeps no history" in (run.summary.nodes["e2"].error or "")
    assert run.summary.nodes["e3"].error == "not reached"
    run = plant.fleet.data("acme/e1", last="30d", every="1d", aggregate=["count", "max"], nodes=["e1"])
    rows = (await run.table()).to_pylist()
    assert {row["tag"] for row in rows} == {"acme/e1/line:n", "acme/e1/line:fixed"}
    assert sum(row["count"] for row in rows) == 600
    assert max(row["max"] for row in rows) == 299
    found = await plant.fleet.query('historian.state == "ok"', select=["historian"]).all()
    assert [node.node for node in found.nodes] == ["e1"]
    assert found.summary.absent == ["e2"]
    facts: Any = found.nodes[0].facts
    assert facts["historian"]["rows"] == 600
    assert facts["historian"]["disk_bytes"] > 0
    assert facts["historian"]["oldest_ns"] <= SystemClock().now_ns()


async def check_command(made: Site) -> None:
    command = warm.command("fleet", "data", "--node", str(made.folder / "hub"), "acme/*/line:n")
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--start", "-1d", "--every", "1d", "-a", "max", "-o", "csv"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert done.stdout.splitlines()[0] == '"tag","kind","timestamp","max"'
    assert "acme/e1/line:n" in done.stdout
    assert "windows of 3 nodes, 2 missing" in done.stderr


async def test_an_edge_alone_answers_from_its_history_also_after_a_restart(tmp_path: Path) -> None:
    tags = [{"name": "n", "address": "n"}]
    config = EdgeConfig.model_validate(
        {
            "edge": {"name": "e1", "path": "acme/e1", "data_dir": tmp_path / "e1"},
            "historian": HISTORY,
            "connectors": [{"name": "bench", "type": "bench", "config": {"rows": 40}, "tags": tags}],
        }
    )
    for _ in range(2):  # the second time nothing comes twice: position and rows are one transaction
        async with EdgeNode(config, connectors=CATALOG, commands={}) as edge:
            await has_stored(edge, 40)
            async with connect(tmp_path / "e1") as plant:
                assert await values(plant, "acme/**:n") == list(range(40))
    async with EdgeNode(config, connectors=CATALOG, commands={}) as edge, connect(tmp_path / "e1") as plant:
        yesterday_ns = SystemClock().now_ns() - 86_400 * 10**9
        await plant.publish("acme/e1:weight", 7, time=yesterday_ns)
        await plant.publish("acme/e1:weight", 8, time=yesterday_ns, is_correction=True)
        await has_stored(edge, 42)
        now = await plant.history("acme/e1:weight", "-2d")
        assert now.column("value").to_pylist() == [8]
        recorded = await plant.history("acme/e1:weight", "-2d", as_recorded=True)
        assert recorded.column("value").to_pylist() == [7, 8]
        await check_export(tmp_path)


async def check_export(folder: Path) -> None:
    command = warm.command("history", "export", "--node", str(folder / "e1"))
    done = await asyncio.to_thread(
        subprocess.run, [*command, str(folder / "lake"), "acme/**:weight", "--start", "-3d", "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [day["outcome"] for day in map(json.loads, done.stdout.splitlines())].count("written") == 1
    file = next((folder / "lake").glob("day=*/samples.parquet"))
    assert pa_parquet.read_table(file).column("integer").to_pylist() == [8]
