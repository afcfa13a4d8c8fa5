"""A plant behind a running edge, as a host application at the broker sees it: units, deaths of machines, commands."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cases.loopback import joined
from cases.mosquitto_peer import broker
from cases.rtu_peer import RtuLine, TcpGateway
from cases.sparkplug_peer import now_ms
from sparkplug_kit import Host, Watcher, connector, hosting, until, watching

from millstream.bus import Credentials, RawConnection, StreamApi, StreamReader
from millstream.config import InstalledConnectors, load_edge
from millstream.connectors.sparkplug._streams import decode_position, encode_position
from millstream.edge import EdgeNode
from millstream.protocols.sparkplug import Payload, PropertySet
from millstream.protocols.sparkplug_host import rebirth_command
from millstream.protocols.sparkplug_wire import decode_payload, encode_payload
from millstream.protocols.uns_subject import decode_subject
from millstream.sdk import Position, Tag, Write
from millstream.sim.modbus_plant import ModbusPlant

SETPOINT, LEVEL = Tag("setpoint", "up/e1/press#setpoint"), Tag("level", "up/e1/press#level")


@dataclass
class Site:
    """Two machines, the edge before them, and who looks at it from the broker."""

    folder: Path
    broker_port: int
    press: TcpGateway
    saw: TcpGateway
    plant: ModbusPlant
    host: Host
    watcher: Watcher

    @asynccontextmanager
    async def edge(self, *, commands: bool) -> AsyncIterator[EdgeNode]:
        """The edge at work."""
        bounds = {"minimum": 0, "maximum": 10, "interval": "50ms"}
        link = {"transport": "rtu_over_tcp", "host": "127.0.0.1", "timeout": "2s"}
        document = {
            "edge": {"name": "e1", "path": "acme/plant1", "data_dir": "data"},
            "streams": {"integrity": {"max_bytes": "64MiB"}, "throughput": {"max_bytes": "64MiB"}},
            "connectors": [
                {
                    "name": "press", "type": "modbus", "path": "press", "sampling_interval": "100ms",
                    "config": {**link, "port": self.press.port},
                    "tags": [
                        {"name": "setpoint", "address": "holding:100:float32", "unit": "bar", "write": bounds,
                         "description": "pressure of the clamp"},
                        {"name": "level", "address": "holding:102:uint16"},
                    ],
                },
                {
                    "name": "saw", "type": "modbus", "path": "saw", "sampling_interval": "50ms",
                    "durability": "throughput", "config": {**link, "port": self.saw.port},
                    "tags": [{"name": "heartbeat", "address": "holding:0:uint32"}],
                },
                {
                    "name": "upward", "type": "sparkplug",
                    "config": {
                        "role": "edge_node", "host": "127.0.0.1", "port": self.broker_port, "client_id": "up1",
                        "group": "up", "node": "e1", "base": "acme/plant1", "commands": commands,
                    },
                },
            ],
        }  # fmt: skip
        path = self.folder / "edge.yaml"
        path.write_text(json.dumps(document))
        config, findings = load_edge(path, InstalledConnectors())
        assert config is not None, [str(finding) for finding in findings]
        async with EdgeNode(config, connectors=InstalledConnectors()) as node:
            yield node

    def of_press(self, kind: str) -> list[Payload]:
        """What the device said."""
        return [decode_payload(m.payload) for m in self.watcher.of(f"/{kind}/e1/press")]

    async def command(self, tag: Tag, value: Any) -> None:
        """As a host application commands."""
        (result,) = await self.host.session.write([Write(tag, value)])
        assert result.quality.is_good


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Everything but the edge."""
    plant = ModbusPlant(registers=dict.fromkeys(range(200), 0))
    other = ModbusPlant(registers=dict.fromkeys(range(40), 0), is_counting=True)
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(broker(tmp_path))
        press = await stack.enter_async_context(joined(TcpGateway(RtuLine({1: plant.answer}))))
        saw = await stack.enter_async_context(joined(TcpGateway(RtuLine({1: other.answer}))))
        host = await stack.enter_async_context(hosting(connector(peer.port)))
        watcher = await stack.enter_async_context(watching(peer.port))
        yield Site(tmp_path, peer.port, press, saw, plant, host, watcher)


async def audit(node: EdgeNode) -> list[tuple[str, str, str | None]]:
    """What the edge has written down of writes: what became of them, who asked, and the code."""
    found: list[tuple[str, str, str | None]] = []
    credentials = Credentials(node.server.user, node.server.password)
    async with (
        RawConnection(node.server.url, credentials=credentials) as connection,
        aclosing(StreamReader(connection).read("E_e1_I")) as lists,
    ):
        last_seq = (await StreamApi(connection).state("E_e1_I")).last_seq
        async for received in lists:
            for item in received:
                address = decode_subject(item.subject)
                if address.contract == "_event" and "write" in address.names:
                    event = json.loads(item.payload)
                    data = event.get("data", event)
                    found.append((address.names[-1], data["who"], data.get("code")))
            if received and received[-1].seq >= last_seq:
                break
    return found


def properties(births: Sequence[Payload], name: str) -> PropertySet:
    """Of a metric in the newest birth."""
    return next(metric.properties or {} for metric in births[-1].metrics if metric.name == name)


pytestmark = pytest.mark.needs("mosquitto")


async def test_a_command_writes_a_tag_that_may_be_written_and_no_other(site: Site) -> None:
    async with site.edge(commands=True) as node:
        await site.host.sees(up__e1__press__setpoint=0.0, up__e1__press__level=0)
        await site.watcher.catch_up()
        shown = {name: p.value for name, p in properties(site.of_press("DBIRTH"), "setpoint").items()}
        assert shown == {
            "engUnit": "bar", "documentation": "pressure of the clamp", "readOnly": False, "Quality": 192,
        }  # fmt: skip
        assert properties(site.of_press("DBIRTH"), "level")["readOnly"].value is True
        await site.command(SETPOINT, 2.5)
        await site.host.sees(up__e1__press__setpoint=2.5)
        assert struct.pack(">HH", *(site.plant.registers[i] for i in (100, 101))) == struct.pack(">f", 2.5)
        await site.command(SETPOINT, 10.5)  # out of bounds
        await site.command(LEVEL, 7)  # no tag that may be written
        await until(lambda: node.status()["writes"] | {"requested": 0} == counters(done=1, refused=2))
        who = f"sparkplug up/e1 at 127.0.0.1:{site.broker_port}"
        found = await audit(node)
        assert sorted(found, key=str) == sorted(
            [("requested", who, None), ("done", who, None), ("refused", who, "MS-2002"), ("refused", who, "MS-2001")],
            key=str,
        )
        assert (site.host.last("up/e1/press/setpoint"), site.host.last("up/e1/press/level")) == (2.5, 0)


def counters(**some: int) -> dict[str, int]:
    """All others are zero."""
    names = ("requested", "done", "refused", "failed", "unknown", "unstored_refusals")
    return {**dict.fromkeys(names, 0), **some}


async def test_without_commands_nothing_is_written(site: Site) -> None:
    async with site.edge(commands=False) as node:
        await site.host.sees(up__e1__press__setpoint=0.0)
        await site.watcher.catch_up()
        assert properties(site.of_press("DBIRTH"), "setpoint")["readOnly"].value is True
        await site.command(SETPOINT, 2.5)
        await until(lambda: bool(site.watcher.of("/DCMD/e1/press")))
        await site.watcher.catch_up()
        before = len(site.of_press("DBIRTH"))
        site.watcher.client.publish("spBv1.0/up/NCMD/e1", encode_payload(rebirth_command(now_ms())))
        await until(lambda: len(site.of_press("DBIRTH")) > before)  # what came before it was heard
        assert node.status()["writes"] == counters()
        assert site.plant.registers[100] == 0


async def test_a_machine_that_cannot_be_reached_dies_and_is_born_again(site: Site) -> None:
    async with site.edge(commands=False):
        await site.host.sees(up__e1__press__setpoint=0.0)
        await until(lambda: (site.host.last("up/e1/saw/heartbeat") or 0) != 0)
        await site.press.cut()
        await until(lambda: bool(site.of_press("DDEATH")))
        await site.host.sees(up__e1__press__setpoint="BadNoCommunication", up__e1__press__level="BadNoCommunication")
        assert site.host.last("up/e1/saw/heartbeat") != "BadNoCommunication"
        await site.watcher.catch_up()
        births = len(site.of_press("DBIRTH"))
        await site.press.join()
        await site.host.sees(up__e1__press__setpoint=0.0, up__e1__press__level=0)
        await site.watcher.catch_up()
        assert len(site.of_press("DBIRTH")) > births
        assert not site.watcher.of("/DDEATH/e1/saw")
    assert site.host.gaps_count == 0


async def test_the_throughput_class_is_published_too_and_goes_on_after_a_restart(site: Site) -> None:
    async def counted(first: int) -> None:
        """The heartbeat has gone on."""
        await until(lambda: isinstance(n := site.host.last("up/e1/saw/heartbeat"), int) and n >= first)

    async with site.edge(commands=False):
        await counted(10)
    seen = {s.value for s in site.host.of("up/e1/saw/heartbeat") if s.value is not None}
    async with site.edge(commands=False):
        await counted(max(seen) + 10)
        await site.host.sees(up__e1__press__setpoint=0.0)
    seen = {s.value for s in site.host.of("up/e1/saw/heartbeat") if s.value is not None}
    assert seen == set(range(1, max(seen) + 1))


def test_a_position_names_each_stream_and_what_was_stored_before_is_understood() -> None:
    taken = {"E_e1_I": 7, "E_e1_T": 12}
    assert encode_position(taken) == b"7 E_e1_I 12 E_e1_T"
    assert decode_position(encode_position(taken)) == taken
    assert decode_position(Position(b"7 E_e1_I")) == {"E_e1_I": 7}
    assert decode_position(Position(b"\xff 1")) == decode_position(None) == {}
