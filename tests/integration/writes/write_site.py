"""A hub and an edge, in processes of their own, and what the tests ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import warm
from millstream.client import Plant
from millstream.rig import Child, new_secret, write_document, write_private

VALID_S = 50.0  # of a request to a slow machine
Connectors = Sequence[Mapping[str, Any]]


@dataclass
class Site:
    """The processes; the edge may be another one after a restart."""

    folder: Path
    hub: Child
    edge: Child

    async def start_edge(self) -> None:
        """Start it, and wait until it has said where it listens."""
        (self.folder / "edge" / "node.json").unlink(missing_ok=True)
        arguments = ["edge", "-c", str(self.folder / "edge.yaml")]
        self.edge = await Child.start("edge", arguments, self.folder, by=warm.command())
        await self.edge.wait_file(self.folder / "edge" / "node.json")


@asynccontextmanager
async def site(folder: Path, connectors: Connectors) -> AsyncIterator[Site]:
    """A hub with a historian, and the edge `e1` at acme/plant1 with `connectors`."""
    secret = write_private(folder / "edge.secret", new_secret())
    write_document(
        folder / "hub.yaml",
        {
            "hub": {"name": "hub", "data_dir": str(folder / "hub")}, "streams": {"max_bytes": "64MiB"},
            "edges": [{"name": "e1", "path": "acme/plant1", "secret": {"file": str(secret)}}], "historian": {},
        },
    )  # fmt: skip
    hub = await Child.start("hub", ["hub", "-c", str(folder / "hub.yaml")], folder, by=warm.command())
    made = Site(folder, hub, hub)
    try:
        node = await hub.wait_file(folder / "hub" / "node.json")
        uplink = {"url": f"nats://127.0.0.1:{node['leaf_port']}", "secret": {"file": str(secret)}}
        write_document(
            folder / "edge.yaml",
            {
                "edge": {"name": "e1", "path": "acme/plant1", "data_dir": str(folder / "edge")}, "uplink": uplink,
                "streams": {"integrity": {"max_bytes": "64MiB"}}, "connectors": connectors,
            },
        )  # fmt: skip
        await made.start_edge()
        yield made
    finally:
        for child in {id(child): child for child in (made.edge, hub)}.values():
            await child.stop()


async def listed(plant: Plant) -> None:
    """Wait until the hub sees what its edge lets be written, and the edge's connectors are open."""
    async with asyncio.timeout(60):
        while True:
            nodes = {node["name"]: node for node in await plant.status()}
            states = {c["state"] for c in nodes.get("e1", {}).get("connectors", [])}
            if states == {"connected"} and (await plant.writable()).get("e1"):
                return
            await asyncio.sleep(0.1)


async def history_of(plant: Plant, count: int, type: str = "millstream.write.*") -> list[tuple[str, Any]]:
    """Type and data of the events in the hub's history, once there are so many."""
    async with asyncio.timeout(60):
        while True:
            found = [e async for e in plant.events("acme/plant1/**", type=type, start="-1h")]
            if len(found) >= count:
                return [(e.type.removeprefix("millstream.write."), e.data) for e in found]
            await asyncio.sleep(0.1)
