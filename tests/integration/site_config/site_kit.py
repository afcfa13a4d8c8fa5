"""A hub and its edge as processes, a growing file and a simulated device: what a configuration from afar changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

import warm
from millstream.bus import Credentials, RawConnection, StreamApi, StreamReader
from millstream.client import Plant
from millstream.kernel import PlantError
from millstream.rig import Child, new_secret, write_document, write_private

WAIT_S = 60.0
PLACE = "acme/plant1"


@dataclass
class Site:
    """A hub, an edge, a device; all processes of their own. `lines` is what the growing file got."""

    folder: Path
    name: str = "e1"
    hub: Child | None = None
    edge: Child | None = None
    device: Child | None = None
    leaf_port: int = 0
    device_port: int = 0
    lines: int = 0
    secret: Path = field(default_factory=Path)

    @property
    def data(self) -> Path:
        return self.folder / self.name

    def log_entry(self, **more: Any) -> dict[str, Any]:
        """A connector that reads the growing file and can rewind."""
        return {
            "name": "log", "type": "files", "path": "log",
            "config": {"folder": str(self.folder / "lines"), "format": "jsonl", "poll_interval": "20ms",
                       "time_columns": ["t"], "time_format": "ms"},
            "tags": [{"name": "count", "address": "n"}],
            **more,
        }  # fmt: skip

    def boiler_entry(self, port: int | None = None, **more: Any) -> dict[str, Any]:
        """A connector to the device."""
        return {
            "name": "boiler", "type": "modbus", "path": "boiler", "sampling_interval": "100ms",
            "config": {"host": "127.0.0.1", "port": port or self.device_port},
            "tags": [{"name": "setpoint", "address": "holding:100:float32"}],
            **more,
        }  # fmt: skip

    async def start_edge(self) -> None:
        (self.data / "node.json").unlink(missing_ok=True)
        arguments = ["edge", "-c", str(self.folder / f"{self.name}.yaml")]
        self.edge = await Child.start(self.name, arguments, self.folder, by=warm.command())
        await self.edge.wait_file(self.data / "node.json")

    async def start_hub(self) -> None:
        (self.folder / "hub" / "node.json").unlink(missing_ok=True)
        arguments = ["hub", "-c", str(self.folder / "hub.yaml")]
        self.hub = await Child.start("hub", arguments, self.folder, by=warm.command())
        self.leaf_port = int((await self.hub.wait_file(self.folder / "hub" / "node.json"))["leaf_port"])

    def write_lines(self, count: int) -> None:
        """Let the file grow."""
        with (self.folder / "lines" / "log.jsonl").open("a", encoding="utf-8") as file:
            for number in range(self.lines, self.lines + count):
                file.write(json.dumps({"t": 1_700_000_000_000 + number, "n": number, "twice": 2 * number}) + "\n")
        self.lines += count

    def edge_file(self, connectors: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "edge": {"name": self.name, "path": PLACE, "data_dir": str(self.data)},
            "uplink": {"url": f"nats://127.0.0.1:{self.leaf_port}", "secret": {"file": str(self.secret)}},
            "managed": {"roots": [str(self.folder)]},
            "streams": {"integrity": {"max_bytes": "64MiB"}},
            "connectors": connectors,
        }


def document(*connectors: Mapping[str, Any], **more: Any) -> str:
    """A document for a site."""
    raw = {"streams": {"integrity": {"max_bytes": "64MiB"}}, "connectors": list(connectors), **more}
    return str(yaml.safe_dump(raw, sort_keys=False))


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    made = Site(folder)
    made.secret = write_private(folder / "edge.secret", new_secret())
    (folder / "lines").mkdir()
    (folder / "lines" / "log.jsonl").touch()
    write_document(
        folder / "hub.yaml",
        {
            "hub": {"name": "hub", "data_dir": str(folder / "hub")}, "streams": {"max_bytes": "64MiB"},
            "edges": [{"name": "e1", "path": PLACE, "secret": {"file": str(made.secret)}}], "historian": {},
        },
    )  # fmt: skip
    try:
        made.device = await Child.start("device", ["millstream.sim.modbus_plant", "--port", "0"], folder)
        await made.device.wait_ready()
        made.device_port = int(made.device.ready["port"])
        await made.start_hub()
        write_document(folder / "e1.yaml", made.edge_file([made.log_entry()]))
        await made.start_edge()
        yield made
    finally:
        for child in (made.edge, made.hub, made.device):
            if child is not None:
                await child.stop()


@asynccontextmanager
async def growing(made: Site) -> AsyncIterator[None]:
    """Lines come all the time."""

    async def grow() -> None:
        while True:
            made.write_lines(7)
            await asyncio.sleep(0.01)

    task = asyncio.get_running_loop().create_task(grow())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def report_where(plant: Plant, condition: Callable[[Mapping[str, Any]], bool], edge: str = "e1") -> Any:
    """The site's report, once it is as wanted."""
    report: Mapping[str, Any] | None = None
    try:
        async with asyncio.timeout(WAIT_S):
            while (report := await plant.configs.report(edge)) is None or not condition(report):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"the last report was {report}") from None
    return report


async def healthy(plant: Plant, revision: int, edge: str = "e1") -> Any:
    """Wait until a revision is healthy at its site."""
    return await report_where(plant, lambda r: r["healthy_revision"] == revision and r["phase"] == "settled", edge)


async def status_of(plant: Plant, edge: str = "e1") -> Any:
    """The edge's status, once it answers."""
    async with asyncio.timeout(WAIT_S):
        while True:
            for node in await plant.status():
                if node["name"] == edge:
                    return node
            await asyncio.sleep(0.1)


async def counts_at_hub(made: Site, name: str = "count") -> list[int]:
    """The values of a tag of the growing file in the hub's stream, once the newest line is there."""
    node = json.loads((made.folder / "hub" / "node.json").read_text(encoding="utf-8"))
    values: list[int] = []
    async with (
        asyncio.timeout(WAIT_S),
        RawConnection(node["nats_url"], credentials=Credentials(node["user"], node["password"])) as connection,
        aclosing(StreamReader(connection).read("H_INTEGRITY")) as batches,
    ):
        async for batch in batches:
            ours = [m for m in batch if m.subject.endswith(f".log._tag.{name}")]
            values += [msgspec.json.decode(message.payload)["value"] for message in ours]
            factor = 1 if name == "count" else 2
            if values and values[-1] == factor * (made.lines - 1):
                state = await StreamApi(connection).state("H_INTEGRITY")
                if not batch or batch[-1].seq >= state.last_seq:
                    return values
    return values


async def counts_of_both_classes(made: Site) -> list[int]:
    """The values of the tag `count` in both of the hub's streams, sorted, once each line of the file is there."""
    node = json.loads((made.folder / "hub" / "node.json").read_text(encoding="utf-8"))
    credentials = Credentials(node["user"], node["password"])
    async with RawConnection(node["nats_url"], credentials=credentials) as connection:
        async with asyncio.timeout(WAIT_S):
            while len(set(values := await _counts(connection))) < made.lines:
                await asyncio.sleep(0.2)
        return sorted(values)


async def _counts(connection: RawConnection) -> list[int]:
    values: list[int] = []
    for stream in ("H_INTEGRITY", "H_THROUGHPUT"):
        async with aclosing(StreamReader(connection).read(stream)) as batches:
            async for batch in batches:
                ours = [m for m in batch if m.subject.endswith(".log._tag.count")]
                values += [msgspec.json.decode(message.payload)["value"] for message in ours]
                if not batch:
                    break
    return values


async def raw_put(made: Site, key: str, payload: bytes) -> None:
    """Write into the bucket past all checks, as somebody who may."""
    node = json.loads((made.folder / "hub" / "node.json").read_text(encoding="utf-8"))
    async with RawConnection(node["nats_url"], credentials=Credentials(node["user"], node["password"])) as connection:
        answer = await connection.request(f"$KV.config.{key}", payload)
        if b'"error"' in answer[4]:
            raise PlantError("not stored", got=answer[4].decode())
