"""Text devices: connected to, connecting, at a serial line."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import millstream.connectors.text as package
from cases.text_peer import Dialer, Listener, Plugged
from millstream.connectors.text import TextConnector
from millstream.kernel import free_port
from millstream.sdk import Tag, Write
from millstream.sdk.testing import ConformanceCase, ExpectedValue, Peer

WRITES = (Write(Tag("setpoint", "1:float", options={"command": "SP {value:.2f}\r\n"}), 2.5),)
TAGS = (Tag("weight", "1:float"), Tag("count", "2:int"), Tag("telegram", "$frame"))
EXTREMES = (
    ("1:float", "-1.7976931348623157e+308", -1.7976931348623157e308),
    ("2:int", str(-(2**63)), -(2**63)),
    ("3:int", str(2**64 - 1), 2**64 - 1),
    ("4:float", "5e-324", 5e-324),
    ("5:bool", "OFF", False),
    ("6", "äß€ " * 20 + "!", "äß€ " * 20 + "!"),
)
LINE = ",".join(text for _, text, _ in EXTREMES).encode() + b"\r\n"
CONFIG = {"parse": "columns", "connect_timeout": "2s"}


@dataclass
class TextPeer(Peer):
    """A device that says the same line each time it is asked to."""

    device: Listener | Dialer | Plugged = field(default_factory=Listener)

    async def produce(self) -> None:
        """One line."""
        self.device.say(LINE)

    async def break_link(self) -> None:
        """Off."""
        await self.device.cut()

    async def restore_link(self) -> None:
        """On."""
        await self.device.join()

    async def poison(self) -> None:
        """A line that is no text."""
        self.device.say(b"\xff\xfe\xfd\r\n")

    async def flood(self, limit_bytes: int) -> int:
        """Lines without a pause."""
        return await self.device.flood(LINE, limit_bytes)


def made(device: Listener | Dialer | Plugged, config: dict[str, object]) -> TextPeer:
    """With its tags."""
    extremes = tuple(ExpectedValue(Tag(address, address), value) for address, _, value in EXTREMES)
    return TextPeer({**CONFIG, **config}, TAGS, Tag("bad", "9"), extremes, WRITES, device=device)


class _Case(ConformanceCase):
    connector = TextConnector
    folder: ClassVar[Path] = Path(package.__file__).parent


class TcpCase(_Case):
    """The edge connects to the device."""

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """Listening."""
        device = Listener()
        await device.join()
        try:
            yield made(device, {"host": "127.0.0.1", "port": device.port})
        finally:
            await device.cut()


class ListenCase(_Case):
    """The device connects to the edge."""

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """Dialling."""
        device = Dialer(port=free_port())
        await device.join()
        try:
            peer = made(device, {"transport": "listen", "host": "127.0.0.1", "port": device.port})
            peer.is_tcp = False  # the address is the edge's own
            yield peer
        finally:
            await device.cut()


class SerialCase(_Case):
    """A serial line."""

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """Plugged in."""
        with tempfile.TemporaryDirectory() as folder:
            device = Plugged(Path(folder) / "line")
            await device.join()
            try:
                yield made(device, {"transport": "serial", "serial_port": str(device.path)})
            finally:
                await device.cut()


CASES = (TcpCase(), ListenCase(), SerialCase())
