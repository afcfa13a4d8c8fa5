"""Real nodes as processes: started by the command, used through commands and SDK, stopped by a signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import millstream
import warm
from millstream.client import Plant

TEMPERATURE = "acme/plant1/press:temperature"
UP = """edge: {name: press-shop, path: acme/plant1, data_dir: data/edge}
hub: {name: hub1, data_dir: data/hub}
"""


class Running:
    """One command as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Signal the whole process group, as a terminal does; the exit status and what it said on standard error."""
        os.killpg(self.process.pid, number)
        async with asyncio.timeout(60):
            _, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


@asynccontextmanager
async def millstream_command(*words: str, cwd: Path) -> AsyncIterator[Running]:
    """Run a command; it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *warm.command(*words), cwd=cwd, start_new_session=True,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ready(*files: Path) -> None:
    """Wait until nodes have written their files."""
    async with asyncio.timeout(60):
        while not all(file.is_file() for file in files):
            await asyncio.sleep(0.05)


async def value_at(plant: Plant, path: str) -> Any:
    """Wait until a tag has a value."""
    async with asyncio.timeout(60):
        while not (found := await plant.last(path)):
            await asyncio.sleep(0.05)
    return found[0].value


async def said(*words: str, cwd: Path) -> tuple[int, str]:
    """Run a command to its end: status and standard output."""
    async with millstream_command(*words, cwd=cwd) as command, asyncio.timeout(60):
        out, _ = await command.process.communicate()
    assert command.process.returncode is not None
    return command.process.returncode, out.decode()


async def test_one_machine_is_up_serves_and_stops_clean(tmp_path: Path) -> None:
    (tmp_path / "up.yaml").write_text(UP)
    edge, hub = tmp_path / "data/edge", tmp_path / "data/hub"
    async with millstream_command("up", "-c", "up.yaml", "--json", cwd=tmp_path) as command:
        await ready(edge / "node.json", hub / "node.json")
        async with millstream.connect(edge) as at_edge, millstream.connect(hub) as at_hub:
            async with aclosing(at_hub.live("acme")) as live, asyncio.TaskGroup() as scope:
                seen = scope.create_task(anext(live))  # type: ignore[arg-type]
                while not seen.done():  # interest in live values takes a moment to cross the link
                    await at_edge.publish(TEMPERATURE, 21.5, unit="degC")
                    await asyncio.sleep(0.05)
            assert (seen.result().path, seen.result().value) == (TEMPERATURE, 21.5)
            assert await value_at(at_hub, TEMPERATURE) == 21.5
            assert {node["name"] for node in await at_hub.status()} == {"hub1", "press-shop"}
        status, out = await said("ledger", "--recount", "--json", "--node", str(hub), cwd=tmp_path)
        assert (status, json.loads(out)["is_clean"]) == (0, True)
        status, out = await said("doctor", "--json", "--node", str(edge), cwd=tmp_path)
        assert (status, [f for f in json.loads(out)["findings"] if f["severity"] != "info"]) == (0, [])
        status, err = await command.stop(signal.SIGTERM)
    assert status == 0, err
    assert not (edge / "node.json").exists()
    assert not (hub / "node.json").exists()
    for line in err.splitlines():
        assert {"time", "level", "event"} <= set(json.loads(line))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
async def test_an_edge_stops_clean_on_either_signal(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "edge.yaml").write_text("edge: {name: e1, path: acme/plant1, data_dir: data}\n")
    async with millstream_command("edge", "-c", "edge.yaml", cwd=tmp_path) as command:
        await ready(tmp_path / "data/node.json")
        status, err = await command.stop(number)
    assert status == 0, err
    assert sum("edge is up" in line for line in err.splitlines()) == 1
    assert "Traceback" not in err
    assert "is restarted" not in err, "the signal is for the node alone: it needs its server to stop in order"


async def test_a_second_node_on_the_same_data_is_refused_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_text("hub: {name: hub1, data_dir: data}\n")
    async with millstream_command("hub", "-c", "hub.yaml", cwd=tmp_path) as first:
        await ready(tmp_path / "data/node.json")
        async with millstream_command("hub", "-c", "hub.yaml", cwd=tmp_path) as second, asyncio.timeout(60):
            _, err = await second.process.communicate()
        assert second.process.returncode == 1
        assert "belongs to a running node" in err.decode()
        assert "tip: stop that node" in err.decode()
        status, err_text = await first.stop(signal.SIGTERM)
    assert status == 0, err_text
