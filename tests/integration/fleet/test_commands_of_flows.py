"""Commands that a flow declares: in the flow's turn, with its state, once, also when edge and worker are killed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fleet_site import Site, site, until

import warm
from millstream.client import NodeCommand, connect
from millstream.rig import Child, write_document

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "commands" / "tally.py"
SLOW = """
import os, signal, time
from pathlib import Path
from tally import Tally, tally as plain
from dataclasses import replace
from millstream.flow import FlowCommand

HERE = Path(__file__).parent


def grow(state, call):
    '''One more; the first time everything is killed before it is committed.'''
    state.parts += 1
    with (HERE / "grown").open("a") as file:
        file.write(call.id + "\\n")
    if (HERE / "hold").exists():
        time.sleep(30)
    return state, [], {"parts": state.parts}


def fall(state, call):
    '''A bug, behind a change in place.'''
    state.parts = 1000
    raise KeyError("oh")


more = (FlowCommand("grow", "One more.", grow), FlowCommand("fall", "A bug.", fall))
tally = replace(plain, commands=(*plain.commands, *more))
"""


class Edge:
    """An edge with a flow, as a process."""

    def __init__(self, made: Site, folder: Path) -> None:
        self.made, self.folder = made, folder
        self.child: Child | None = None

    async def start(self) -> None:
        (self.folder / "plant1" / "node.json").unlink(missing_ok=True)
        write_document(self.folder / "edge.yaml", {
            "edge": {"name": "plant1", "path": "acme/plant1", "data_dir": "plant1"},
            "uplink": {
                "url": f"nats://127.0.0.1:{self.made.leaf_port}", "secret": {"file": str(self.made.secret("plant1"))}
            },
            "streams": {"integrity": {"max_bytes": "64MiB"}},
            "flows": [{"name": "tally", "python": "slow.py:tally", "step_timeout": "60s"}],
        })  # fmt: skip
        self.child = await Child.start("edge", ["edge", "-c", "edge.yaml"], self.folder, by=warm.command())
        await self.child.wait_file(self.folder / "plant1" / "node.json")

    async def send(self, type: str, **args: Any) -> str:
        async with self.made.plant() as plant:
            return await plant.commands.send(f"tally.{type}", {"path": "acme/plant1/press", **args}, nodes=["plant1"])

    async def over(self, id: str) -> NodeCommand:
        async with self.made.plant() as plant:
            (found,) = await plant.commands.wait(id, timeout_s=60)
        return found

    async def told(self, type: str, **args: Any) -> NodeCommand:
        return await self.over(await self.send(type, **args))

    def lines(self) -> list[str]:
        path = self.folder / "grown"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


async def test_a_flow_does_what_it_is_told_in_its_turn_once_and_says_how_it_went(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "tally.py")
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    async with site(tmp_path, ["plant1"]) as made:
        edge = Edge(made, tmp_path)
        await edge.start()
        try:
            first = await edge.send("correct", by=3)  # also while the flow is only starting
            found = await edge.over(first)
            assert (found.state, found.result) == ("done", {"parts": 3}), found
            async with connect(tmp_path / "plant1") as plant:
                await plant.publish("acme/plant1/press:part", 1)
            found = await edge.told("correct", by=-9)
            assert (found.state, "not so many parts" in str(found.reason)) == ("failed", True), found
            found = await edge.told("fall")
            assert (found.state, found.code, "KeyError" in str(found.reason)) == ("failed", "MS-2305", True), found
            assert (await edge.told("correct", by="two")).code == "MS-2304"
            found = await edge.told("corect", by=1)
            assert (found.state, found.code) == ("refused", "MS-2303")
            assert "tally.correct" in str(found.reason)
            found = await edge.told("correct", by=0, path="acme/plant2/press")
            assert (found.state, "not a place of this flow" in str(found.reason)) == ("refused", True), found

            (tmp_path / "hold").touch()
            grown = await edge.send("grow")
            await until(lambda: edge.lines() == [grown], "the flow works on it")
            assert edge.child is not None
            await edge.child.kill()  # in the middle of the step: nothing of it is committed
            (tmp_path / "hold").unlink()
            await edge.start()
            found = await edge.over(grown)
            assert (found.state, found.result) == ("done", {"parts": 5}), found
            assert edge.lines() == [grown, grown], "the step ran again, from the state before"
            assert (await edge.told("restart")).result == {"before": 5}
            async with made.plant() as plant:
                run = plant.fleet.query("'tally.grow' in commands", select=["command_types.*.schema"])
                (facts,) = [match.facts async for match in run]
            schema = facts["command_types"]["tally.correct"]["schema"]
            assert schema["required"] == ["path", "by"]
            assert schema["properties"]["by"] == {"type": "integer"}
            assert "package" in facts["command_types"]["update"]["schema"]["properties"]
        finally:
            assert edge.child is not None
            await edge.child.stop()
