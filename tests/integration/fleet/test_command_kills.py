"""Commands with one effect at most, while hub, edge and link die at every point: all of them processes of their own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet_site import until

import warm
from millstream.client import NodeCommand, Plant, connect
from millstream.kernel import PlantError
from millstream.rig import Child, new_secret, write_document, write_private
from millstream.sim._proxy import Fault, FaultProxy

HERE = Path(__file__).resolve().parent


@dataclass
class Rig:
    """A hub, a link that can be cut, an edge."""

    folder: Path
    secret: Path
    proxy: FaultProxy | None = None
    leaf_port: int = 0
    hub: Child | None = None
    edge: Child | None = None
    sent: list[str] = field(default_factory=list)

    async def start_hub(self) -> None:
        (self.folder / "hub" / "node.json").unlink(missing_ok=True)
        server = {"leaf_port": self.leaf_port} if self.leaf_port else {}
        document = {
            "hub": {"name": "hub", "data_dir": str(self.folder / "hub")}, "streams": {"max_bytes": "64MiB"},
            "edges": [{"name": "e1", "path": "acme/e1", "secret": {"file": str(self.secret)}}], "historian": None,
            "server": server,
        }  # fmt: skip
        write_document(self.folder / "hub.yaml", document)
        arguments = ["hub", "-c", str(self.folder / "hub.yaml")]
        self.hub = await Child.start("hub", arguments, self.folder, by=warm.command())
        node = await self.hub.wait_file(self.folder / "hub" / "node.json")
        self.leaf_port = int(node["leaf_port"])

    async def start_edge(self) -> None:
        (self.folder / "edge" / "node.json").unlink(missing_ok=True)
        assert self.proxy is not None
        document = {
            "edge": {"name": "e1", "path": "acme/e1", "data_dir": str(self.folder / "edge")},
            "uplink": {"url": f"nats://127.0.0.1:{self.proxy.port}", "secret": {"file": str(self.secret)}},
            "streams": {"integrity": {"max_bytes": "64MiB"}},
        }
        write_document(self.folder / "edge.yaml", document)
        script = [str(HERE / "command_edge.py"), str(self.folder / "edge.yaml"), str(self.folder)]
        log = (self.folder / "edge.log").open("ab")
        process = await asyncio.create_subprocess_exec(
            *warm.python(*script), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        log.close()
        self.edge = Child("edge", process, self.folder / "edge.log")
        await self.edge.wait_file(self.folder / "edge" / "node.json")

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text(encoding="utf-8").split() if path.exists() else []

    async def send(self, plant: Plant, **more: Any) -> str:
        id = await plant.commands.send("leave_mark", nodes=["e1"], **more)
        self.sent.append(id)
        return id

    async def state(self, id: str) -> str:
        """At the hub now; "" while it cannot be asked."""
        try:
            async with connect(self.folder / "hub") as plant:
                (found,) = await plant.commands.show(id)
        except PlantError:
            return ""
        return found.state

    async def over(self, id: str) -> NodeCommand:
        async with connect(self.folder / "hub") as plant:
            (found,) = await plant.commands.wait(id)
        return found


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    made = Rig(folder, write_private(folder / "secret", new_secret()))
    try:
        await made.start_hub()
        async with FaultProxy("127.0.0.1", made.leaf_port) as proxy:
            made.proxy = proxy
            await made.start_edge()
            yield made
            assert made.edge is not None
            await made.edge.stop()
    finally:
        for child in (made.edge, made.hub):
            if child is not None:
                await child.stop()


async def reaches(made: Rig, id: str, *states: str) -> None:
    async def is_there() -> bool:
        return await made.state(id) in states

    await until(is_there, f"{states}")


async def test_an_edge_killed_before_its_effect_after_it_and_while_commands_wait(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        assert made.edge is not None
        async with connect(tmp_path / "hub") as plant:
            first = [await made.send(plant) for _ in range(4)]  # as many as run at once
            await until(lambda: len(made.lines("begun")) == 4, "all begun")
            waiting = await made.send(plant)
            await reaches(made, waiting, "accepted")
        await made.edge.kill()  # begun, no effect yet; one waits
        warm.settle()
        (tmp_path / "open").touch()
        await made.start_edge()
        for id in first:
            found = await made.over(id)
            assert (found.state, found.code) == ("unknown", "MS-2008")
        await until(lambda: made.lines("marks") == [waiting], "the effect of the one that waited")
        await reaches(made, waiting, "running")
        await made.edge.kill()  # between the effect and the answer
        warm.settle()
        (tmp_path / "end").touch()
        await made.start_edge()
        assert (await made.over(waiting)).state == "unknown"
        async with connect(tmp_path / "hub") as plant:
            last = await made.send(plant)
            assert (await made.over(last)).state == "done"
        assert made.lines("marks") == [waiting, last]
        assert sorted(made.lines("begun")) == sorted([*first, waiting, last])


async def test_a_hub_killed_with_commands_under_way_and_a_link_that_is_cut(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        assert made.hub is not None
        assert made.proxy is not None
        async with connect(tmp_path / "hub") as plant:
            one = await made.send(plant)
            await until(lambda: made.lines("begun") == [one], "begun")
            made.proxy.cut()
            two = await made.send(plant)
            again = await plant.commands.send("leave_mark", nodes=["e1"], key=two)  # an answer that was lost
            assert again == two
        await made.hub.kill()
        warm.settle()
        (tmp_path / "open").touch()
        (tmp_path / "end").touch()
        await until(lambda: made.lines("marks") == [one], "the effect, while there is no hub")
        await made.start_hub()
        assert await made.state(two) in ("pending", "sent")
        made.proxy.set(Fault())
        assert (await made.over(one)).state == "done"
        assert (await made.over(two)).state == "done"
        assert made.lines("marks") == [one, two]


async def test_whatever_dies_no_command_has_its_effect_twice_and_each_is_accounted_for(tmp_path: Path) -> None:
    """By a seed: commands are sent while edge, hub and link fail in between."""
    chance = random.Random(20_260_131)
    (tmp_path / "open").touch()
    (tmp_path / "end").touch()
    async with rig(tmp_path) as made:
        assert made.proxy is not None
        for number in range(5):
            key = f"c{number}"
            fault = chance.choice(("edge", "hub", "cut", "none"))
            sending = asyncio.ensure_future(_send_surely(made, key))
            await asyncio.sleep(chance.random() * 0.3)
            if fault == "edge":
                assert made.edge is not None
                await made.edge.kill()
                warm.settle()
                await made.start_edge()
            elif fault == "hub":
                assert made.hub is not None
                await made.hub.kill()
                warm.settle()
                await made.start_hub()
            elif fault == "cut":
                made.proxy.cut()
                await asyncio.sleep(chance.random() * 0.3)
                made.proxy.set(Fault())
            await sending
        states = {key: (await made.over(key)).state for key in made.sent}
        marks = {key: made.lines("marks").count(key) for key in made.sent}
        assert set(states.values()) <= {"done", "unknown"}
        assert all(count == 1 for key, count in marks.items() if states[key] == "done"), (marks, states)
        assert all(count <= 1 for count in marks.values()), (marks, states)


async def _send_surely(made: Rig, key: str) -> None:
    """As a program does that must be sure: ask with the same key until it is answered."""
    made.sent.append(key)
    async with asyncio.timeout(180):
        while True:
            try:
                async with connect(made.folder / "hub") as plant:
                    await plant.commands.send("leave_mark", nodes=["e1"], key=key)
                return
            except PlantError:
                await asyncio.sleep(0.1)
