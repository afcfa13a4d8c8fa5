"""An edge whose one device says what a test tells it to, alone or below a hub."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import millstream
from millstream.cli import main
from millstream.client import DeadLetter, Plant
from millstream.config import UplinkConfig, load_edge, load_hub
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.model import Block, Sample
from millstream.sdk import Batch, ConnectorConfig, ConnectorInfo, ConnectorTools, Position, SecretRef, Tag

PLACE = "acme/plant1/press"
TEMPERATURE, PRESSURE, WAVE = f"{PLACE}:temperature", f"{PLACE}:pressure", f"{PLACE}:wave"
EDGE = """
edge: {name: e1, path: acme/plant1, data_dir: edge}
connectors:
  - name: plc
    type: mouth
    path: press
    tags:
      - {name: temperature, address: t, unit: degC}
      - {name: pressure, address: p, unit: bar}
      - {name: wave, address: w}
"""
HUB = "hub: {name: hub, data_dir: hub}\nhistorian: null\nedges: [{name: e1, path: acme/plant1}]\n"
CONTRACT = """
contracts:
  - name: press-temperature
    paths: ["acme/*/press:temperature"]
    unit: degC
    schema: {type: number, minimum: -40, maximum: 900}
"""


@dataclass
class Mouth:
    """A device. What `say` takes is a batch with a position of its own; one that is told again comes again."""

    said: list[list[Sample | Block]] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    opened: int = 0

    def say(self, *items: Sample | Block) -> None:
        """One batch."""
        self.said.append(list(items))
        self.told.set()

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        self.opened += 1
        row = int(resume) if resume is not None else 0
        while True:
            while row < len(self.said):
                items, row = self.said[row], row + 1
                samples = [item for item in items if isinstance(item, Sample)]
                blocks = [item for item in items if isinstance(item, Block)]
                yield Batch(samples, blocks=blocks, position=Position(str(row).encode()))
            self.told.clear()
            await self.told.wait()

    async def ack(self, up_to: Position) -> None:
        """Nothing to release."""


def catalog(mouth: Mouth) -> dict[str, Any]:
    """The connector type `mouth` for that device."""

    class MouthConnector:
        info: ClassVar[ConnectorInfo] = ConnectorInfo("mouth", "says what it is told", "none")
        Config: ClassVar[type[ConnectorConfig]] = ConnectorConfig

        def __init__(self, config: ConnectorConfig, tools: ConnectorTools) -> None:
            """Nothing to keep."""

        def check_tag(self, tag: Tag) -> None:
            """Every address is right."""

        @asynccontextmanager
        async def open(self) -> AsyncIterator[Mouth]:
            yield mouth

    return {"mouth": MouthConnector}


@asynccontextmanager
async def edge_node(folder: Path, mouth: Mouth, uplink: UplinkConfig | None = None) -> AsyncIterator[EdgeNode]:
    """A running edge."""
    path = folder / "edge.yaml"
    path.write_text(EDGE, encoding="utf-8")
    types = catalog(mouth)
    config, findings = load_edge(path, types)
    assert config is not None, [str(f) for f in findings]
    async with EdgeNode(config.model_copy(update={"uplink": uplink}), connectors=types) as node:
        yield node


@asynccontextmanager
async def hub_node(folder: Path) -> AsyncIterator[HubNode]:
    """A running hub."""
    path = folder / "hub.yaml"
    path.write_text(HUB, encoding="utf-8")
    config, findings = load_hub(path)
    assert config is not None, [str(f) for f in findings]
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(HubNode(config))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = group.create_task(hub.run())
        stack.callback(running.cancel)
        yield hub


def uplink_to(hub: HubNode, folder: Path) -> UplinkConfig:
    """How the edge reaches that hub."""
    listener = hub.server.settings.leaf_listener
    assert listener is not None
    secret = SecretRef(file=folder / "hub" / "secrets" / "edges" / "e1")
    return UplinkConfig(url=f"nats://127.0.0.1:{listener.port}", secret=secret)


async def until(condition: Callable[[], bool], what: str = "it", deadline_s: float = 60.0) -> None:
    """Poll."""
    try:
        async with asyncio.timeout(deadline_s):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what} did not come") from None


def enforced(node: EdgeNode) -> dict[str, int]:
    """Contract -> version that holds at the edge."""
    return {c["name"]: c["version"] for c in node.status()["contracts"]["enforced"]}  # type: ignore[index]


async def letters(plant: Plant, count: int) -> list[DeadLetter]:
    """All letters, as soon as there are so many."""
    found: list[DeadLetter] = []
    try:
        async with asyncio.timeout(60):
            while len(found := (await plant.dead_letters())[0]) < count:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{count} letters expected, got {found}") from None
    return found


async def values(plant: Plant, path: str) -> list[tuple[Any, int | None]]:
    """All that is stored of a tag: value and source time, in order."""
    from millstream.protocols.uns_payload import decode_sample
    from millstream.protocols.uns_subject import tag_subject

    subject = tag_subject(millstream.model.TagPath.parse(path))
    frames = [frame async for frame in plant._streams.since("E_e1_I", subject, 0)]
    return [(record.value, record.timestamp_ns) for record in (decode_sample(frame.payload) for frame in frames)]


async def say(capfd: Any, folder: Path, *words: str) -> tuple[int, list[Any], str]:
    """One command with --json against the node of a folder, in a thread because it has a loop of its own."""
    status = await asyncio.to_thread(main, [*words, "--json", "--node", str(folder)])
    out, err = capfd.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err
