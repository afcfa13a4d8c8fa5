"""MTConnect against a simulated adapter and a simulated agent."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import millstream.connectors.mtconnect as package
from cases.agent_peer import AgentPeer, Item
from cases.loopback import joined
from cases.shdr_peer import ShdrPeer
from millstream.connectors.mtconnect import MTConnectConnector
from millstream.sdk import Tag
from millstream.sdk.testing import ConformanceCase, ExpectedValue, Peer

LONG = "x" * 65_536
DEVICES = b"""<MTConnectDevices><Header/><Devices><Device name="d" id="d"><DataItems>
<DataItem id="d1" name="Xabs" category="SAMPLE" type="POSITION" units="MILLIMETER"/>
<DataItem id="d2" name="mode" category="EVENT" type="CONTROLLER_MODE"/>
<DataItem id="d3" name="servo" category="CONDITION" type="ACTUATOR"/>
<DataItem id="e1" name="nan" category="SAMPLE" type="LOAD"/><DataItem id="e2" name="inf" category="SAMPLE" type="LOAD"/>
<DataItem id="e3" name="minus_inf" category="SAMPLE" type="LOAD"/>
<DataItem id="e4" name="count" category="EVENT" type="PART_COUNT"/>
<DataItem id="e5" name="empty" category="EVENT" type="PROGRAM"/>
<DataItem id="e6" name="long" category="EVENT" type="PROGRAM"/>
<DataItem id="e7" name="path" category="SAMPLE" type="PATH_POSITION" units="MILLIMETER_3D"/>
<DataItem id="e8" name="vars" category="EVENT" type="VARIABLE" representation="DATA_SET"/>
</DataItems></Device></Devices></MTConnectDevices>"""
TAGS = (Tag("x", "Xabs"), Tag("mode", "d2"), Tag("servo", "servo"))
EXTREMES = (
    ExpectedValue(Tag("nan", "nan"), math.nan),
    ExpectedValue(Tag("inf", "inf"), math.inf),
    ExpectedValue(Tag("minus_inf", "minus_inf"), -math.inf),
    ExpectedValue(Tag("count", "count"), 2**63 - 1),
    ExpectedValue(Tag("empty", "empty"), ""),
    ExpectedValue(Tag("long", "long"), LONG),
    ExpectedValue(Tag("path", "path"), [1.5, -2.0, 1e300]),
    ExpectedValue(Tag("vars", "vars"), {"a": 1.0, "b": "two words"}),
)


def shdr_line(number: int) -> str:
    """All tags of the case in two lines; the extremes follow now and then, since they are long."""
    stamp = f"2026-01-01T00:00:{number % 60:02d}.{number:06d}Z"
    lines = [f"{stamp}|Xabs|{number}.5|mode|AUTOMATIC", f"{stamp}|servo|Warning|W{number}|2||hot"]
    if number % 5 == 1:
        lines.append(
            f'{stamp}|nan|nan|inf|inf|minus_inf|-inf|count|{2**63 - 1}|empty||path|1.5 -2 1e300|vars|a=1 b="two words"'
        )
        lines.append(f"{stamp}|long|{LONG}")
    return "\n".join(lines)


class ShdrCase(ConformanceCase):
    """An adapter's socket."""

    connector = MTConnectConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A simulated adapter and its Devices.xml."""
        with TemporaryDirectory() as folder:
            devices_file = Path(folder) / "Devices.xml"
            devices_file.write_bytes(DEVICES)
            peer = ShdrPeer({}, TAGS, Tag("bad", "no_such_item"), EXTREMES, line=shdr_line)
            async with joined(peer):
                peer.config = {
                    "mode": "shdr",
                    "host": "127.0.0.1",
                    "port": peer.port,
                    "devices_file": str(devices_file),
                }
                yield peer


AGENT_ITEMS = (
    Item("d1", "Xabs"),
    Item("d2", "mode", "EVENT", "CONTROLLER_MODE", None),
    Item("d3", "servo", "CONDITION", "ACTUATOR", None),
)
EXTREME_ITEMS = {
    "nan": (Item("e1", "nan"), "NaN"),
    "inf": (Item("e2", "inf"), "INF"),
    "minus_inf": (Item("e3", "minus_inf"), "-INF"),
    "count": (Item("e4", "count", "EVENT", "PART_COUNT", None), str(2**63 - 1)),
    "empty": (Item("e5", "empty", "EVENT", "PROGRAM", None), ""),
    "long": (Item("e6", "long", "EVENT", "PROGRAM", None), LONG),
    "path": (Item("e7", "path", "SAMPLE", "PATH_POSITION", "MILLIMETER_3D"), "1.5 -2 1e300"),
}


class AgentCase(ConformanceCase):
    """An agent over HTTP, with a buffer to resume from."""

    connector = MTConnectConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A simulated agent whose buffer already holds something."""
        items = (*AGENT_ITEMS, *(item for item, _ in EXTREME_ITEMS.values()))
        extremes = tuple(expected for expected in EXTREMES if expected.tag.key in EXTREME_ITEMS)
        peer = AgentPeer({}, TAGS, Tag("bad", "no_such_item"), extremes, items=items)
        for item, text in EXTREME_ITEMS.values():
            peer.observe(item, text)
        peer.items = AGENT_ITEMS
        for _ in range(100):
            await peer.produce()
        peer.items = items
        peer.samples_count = 3 * 100
        original = peer.produce

        async def produce() -> None:
            peer.items = AGENT_ITEMS
            await original()
            peer.items = items

        peer.produce = produce  # type: ignore[method-assign]
        async with joined(peer):
            peer.config = {
                "mode": "agent",
                "url": f"http://127.0.0.1:{peer.port}",
                "start": "buffer",
                "count_max": 40,
                "poll_interval": "20ms",
            }
            yield peer


CASES = (ShdrCase(), AgentCase())
