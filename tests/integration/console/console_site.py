"""A hub, an edge behind a link that can be cut, and a plant with all that a page must show: real, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from starlette.applications import Starlette

from millstream.api import BrowserAccess, create_app, plants_of, serve_api
from millstream.bus import PEOPLE_USER
from millstream.client import Plant, connect
from millstream.config import EdgeConfig, HubConfig
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.kernel import SystemClock, Unreachable
from millstream.model import BAD, GOOD, Event, Sample
from millstream.protocols.cloudevents import format_time
from millstream.sdk import (
    Batch,
    CommandContext,
    ConnectorConfig,
    ConnectorInfo,
    ConnectorTools,
    Position,
    Tag,
    Write,
    WriteResult,
)  # fmt: skip
from millstream.shop import Fact
from millstream.sim import FaultProxy

TOKEN = "a-token-for-these-tests-only"
PLACE = "acme/plant1"
HOSTILE = '<img src=x onerror="window.pwned=1">'
LONG = "x" * 65_536
LONG_EVERY = 10
FRAMES_BAD = [(b"\xff<script>", "not a frame of this protocol"), (b'{"value": "7"}', "a frame without a time")]
ALARM = Event(
    "temperature", "millstream.alarm.raised", "1", "/hall",
    {"state": "unacknowledged", "change": "raised", "priority": "critical", "is_active": True, "message": HOSTILE},
    kind="alarm",
)  # fmt: skip


class HallConfig(ConnectorConfig):
    """Nothing to set."""


class HallSession:
    """Says all its tags twice a second, and takes writes."""

    def __init__(self) -> None:
        self.setpoint = 20.0

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        row = int(resume) if resume is not None else 0
        while True:
            row += 1
            bad = FRAMES_BAD if row == 1 else []
            events = [ALARM] if row == 1 else []
            samples = [self._sample(tag, row) for tag in tags if tag.address != "long" or row % LONG_EVERY == 1]
            yield Batch(samples, position=Position(str(row).encode()), frames_bad=bad, events=events)
            await asyncio.sleep(0.5)

    async def ack(self, up_to: Position) -> None:
        """Nothing to release."""

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """As they are now."""
        return [self._sample(tag, 0) for tag in tags]

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """It takes all of them."""
        for write in writes:
            self.setpoint = cast("float", write.value)
        return [WriteResult(GOOD) for _ in writes]

    def _sample(self, tag: Tag, row: int) -> Sample:
        values: dict[str, Any] = {
            "sine": round(50 + 20 * math.sin(row / 10), 2), "row": row, "text": HOSTILE, "big": 2**63 - 1,
            "long": LONG, "setpoint": self.setpoint,
        }  # fmt: skip
        if tag.address == "bad":
            return Sample(tag.key, None, quality=BAD)
        return Sample(tag.key, values[tag.address])


class HallConnector:
    """Machines that are always there."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo("hall", "numbers", "none")
    Config: ClassVar[type[ConnectorConfig]] = HallConfig

    def __init__(self, config: HallConfig, tools: ConnectorTools) -> None:
        """Needs nothing."""

    def check_tag(self, tag: Tag) -> None:
        """Every address is right."""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[HallSession]:
        """A session."""
        yield HallSession()


class SawSession(HallSession):
    """Says its tags once, then nothing: they do not change. It ends when the saw is unplugged."""

    def __init__(self, unplugged: asyncio.Event) -> None:
        super().__init__()
        self._unplugged = unplugged

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        yield Batch([Sample(tag.key, "closed") for tag in tags], position=Position(b"1"))
        await self._unplugged.wait()
        raise Unreachable("nobody answers", where="saw", code="MS-0200")


def saw_connector(unplugged: asyncio.Event) -> type[HallConnector]:
    """A saw whose link notices when it is gone."""

    class SawConnector(HallConnector):
        """See above."""

        info: ClassVar[ConnectorInfo] = ConnectorInfo("saw", "a door", "none", notices_loss=True)

        @contextlib.asynccontextmanager
        async def open(self) -> AsyncIterator[HallSession]:
            """A session, while it is plugged in."""
            if unplugged.is_set():
                raise Unreachable("nobody answers", where="saw", code="MS-0200")
            yield SawSession(unplugged)

    return SawConnector


class Polish:
    """A command that says how far it is, and goes on when it is told to."""

    description = "Polish the press."
    schema: ClassVar[Mapping[str, Any]] = {"type": "object"}
    time_limit_s = 300.0
    is_cancellable = True

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def run(self, args: Mapping[str, Any], context: CommandContext) -> Any:
        """Half of it, and the rest."""
        await context.progress(0.5, "one side shines")
        await self.gate.wait()
        return {"sides": 2}


TAGS = [
    {"name": "speed", "path": "press", "address": "sine", "unit": "1/min"},
    {"name": "count", "path": "press", "address": "row"},
    {"name": "lost", "path": "press", "address": "bad"},
    {
        "name": "setpoint",
        "path": "oven",
        "address": "setpoint",
        "unit": "degC",
        "write": {"minimum": 0, "maximum": 80, "interval": "100ms"},
    },
    {"name": "temperature", "path": "oven", "address": "sine", "unit": "degC"},
    {"name": HOSTILE, "path": "hostile", "address": "text"},
    {"name": "‮gnp.exe", "path": "hostile", "address": "text"},
    {"name": "huge", "path": "hostile", "address": "long"},
    {"name": "big", "path": "hostile", "address": "big"},
]

SAW = {
    "name": "saw", "type": "saw", "path": "saw", "config": {}, "tags": [{"name": "door", "address": "door"}],
}  # fmt: skip

FLOWS = [
    {
        "name": "watch", "type": "alarm", "inputs": [f"{PLACE}/press"],
        "config": {
            "names": {"row": "count"},
            "conditions": [{"name": "many", "of": "row", "above": 0, "priority": "high", "message": "rows come"}],
        },
    },
    {"name": "rejects", "type": "quality", "inputs": [f"{PLACE}/saw"], "config": {}},
    {
        "name": "stops", "type": "downtime", "inputs": [{"pattern": f"{PLACE}/saw:state", "kind": "state"}],
        "config": {"names": {"state": "state"}},
    },
]  # fmt: skip
MINUTE_NS = 60 * 10**9


@dataclass
class ConsoleSite:
    """What runs."""

    hub: HubNode
    edge: EdgeNode
    uplink: FaultProxy
    websocket: FaultProxy
    url: str
    edge_url: str
    polish: Polish
    unplugged: asyncio.Event  # set: the saw is gone
    plant: Plant  # at the edge

    @property
    def page(self) -> str:
        """An address that logs in."""
        return f"{self.url}/#token={TOKEN}"


def hub_config(folder: Path) -> HubConfig:
    """A hub with history and pages."""
    return HubConfig.model_validate(
        {
            "hub": {"name": "hub", "data_dir": folder / "hub"},
            "streams": {"max_bytes": "64MiB"},
            "edges": [{"name": "plant1", "path": PLACE}, {"name": "away", "path": "acme/away"}],
            "api": {},
        }
    )


def edge_config(folder: Path, leaf_port: int) -> EdgeConfig:
    """An edge with a hall of machines."""
    return EdgeConfig.model_validate(
        {
            "edge": {
                "name": "plant1",
                "path": PLACE,
                "data_dir": folder / "plant1",
                "labels": {"latitude": "50.94", "longitude": "6.96"},
            },
            "uplink": {
                "url": f"nats://127.0.0.1:{leaf_port}",
                "secret": {"file": folder / "hub" / "secrets" / "edges" / "plant1"},
            },
            "streams": {"integrity": {"max_bytes": "64MiB"}},
            "connectors": [{"name": "hall", "type": "hall", "config": {}, "tags": TAGS}, SAW],
            "flows": FLOWS,
            "historian": {},
            "api": {},
        }
    )


async def publish_shop(plant: Plant, number: int) -> None:
    """What flows would say of a machine."""
    await plant.publish(f"{PLACE}/press:state", "Execute", kind="state")
    await plant.publish(f"{PLACE}/oven:state", "Aborted", kind="state")
    await plant.publish(f"{PLACE}/press:parts", 1000 + number, kind="count")
    await plant.publish(f"{PLACE}/press:oee/shift/oee", 0.82, kind="kpi")
    await plant.publish(f"{PLACE}/press:oee/shift/availability", 0.93, kind="kpi")
    await plant.publish(f"{PLACE}:oee/shift/oee", 0.71, kind="kpi")


@contextlib.asynccontextmanager
async def console_site(folder: Path) -> AsyncIterator[ConsoleSite]:
    """A hub with its API, and an edge that has reached it."""
    polish, unplugged = Polish(), asyncio.Event()
    catalog: Any = {"hall": HallConnector, "saw": saw_connector(unplugged)}
    async with HubNode(hub_config(folder)) as hub:
        running = asyncio.ensure_future(hub.run())
        try:
            listener = hub.server.settings.leaf_listener
            port, secret = hub.server.settings.websocket_port, hub.server.settings.people_secret
            assert listener is not None
            assert port is not None
            assert secret is not None
            async with (
                FaultProxy("127.0.0.1", listener.port) as uplink,
                FaultProxy("127.0.0.1", port) as websocket,
                serve_api(_app(hub, BrowserAccess(websocket.port, PEOPLE_USER, secret))) as address,
                EdgeNode(edge_config(folder, uplink.port), connectors=catalog, commands={"polish": polish}) as edge,
                serve_api(_edge_app(edge)) as edge_address,
                connect(node=folder / "plant1") as plant,
            ):
                shop = asyncio.ensure_future(_run_shop(plant))
                try:
                    yield ConsoleSite(
                        hub, edge, uplink, websocket, address.url, edge_address.url, polish, unplugged, plant
                    )
                finally:
                    shop.cancel()
                    await asyncio.gather(shop, return_exceptions=True)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def _app(hub: HubNode, access: BrowserAccess) -> Starlette:
    assert hub.historian is not None
    plants = plants_of(hub.config.hub.data_dir)
    return create_app(hub.historian, token=TOKEN, status=hub.status, access=access, plants=plants, role="commander")


def _edge_app(edge: EdgeNode) -> Starlette:
    port, secret = edge.server.settings.websocket_port, edge.server.settings.people_secret
    assert port is not None
    assert secret is not None

    async def status() -> dict[str, object]:
        return edge.status()

    access = BrowserAccess(port, PEOPLE_USER, secret)
    return create_app(lambda: edge.historian, token=TOKEN, status=status, access=access, role="viewer", site="plant1")


async def _publish_past(plant: Plant) -> None:
    """A saw that stood for half an hour, and what the flow `oee` would say of a shift of the press."""
    now_ns = SystemClock().now_ns() // MINUTE_NS * MINUTE_NS
    for minutes, state in ((60, "Execute"), (40, "Aborted"), (10, "Execute")):
        await plant.publish(f"{PLACE}/saw:state", state, kind="state", time=now_ns - minutes * MINUTE_NS)
    start, end = (format_time(now_ns - minutes * MINUTE_NS) for minutes in (60, 1))
    order = {"start": start, "product": "lid", "ideal_cycle_s": 2.0, "quantity": 5000}
    await plant.context.put([Fact(f"{PLACE}/saw:order/4711", "order", order)])
    made = [{"order": "4711", "product": "lid", "produced": 62, "rejected": 2}]
    await plant.event(f"{PLACE}/saw:oee/live", "millstream.oee", {"window": "live", "start": start, "orders": made})
    shift = {
        "start": start,
        "end": end,
        "oee": 0.82,
        "planned_s": 3600.0,
        "losses_s": {"setup": 600.0},
        "doubts": [HOSTILE],
        "known": 1.0,
    }
    await plant.event(f"{PLACE}/press:oee/shift", "millstream.oee", shift)
    parts = [{"path": f"{PLACE}/press", "oee": 0.82, "losses_s": {"setup": 600.0}}]
    await plant.event(f"{PLACE}:oee/shift", "millstream.oee.total", shift | {"oee": 0.71, "parts": parts})


async def _run_shop(plant: Plant) -> None:
    while True:
        with contextlib.suppress(Unreachable):
            await _publish_past(plant)
            break
    await plant.event(f"{PLACE}/press:door", "com.acme.door.opened", {"by": HOSTILE})
    number = 0
    while True:
        with contextlib.suppress(Unreachable):
            await publish_shop(plant, number)
        number += 1
        await asyncio.sleep(0.5)
