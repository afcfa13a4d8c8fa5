"""EtherNet/IP: pylogix against cpppo's controller, pycomm3 against a stand-in that has a tag list."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import millstream.connectors.ethernet_ip as package
from cases import cpppo_peer, logix_stand_in
from cases.loopback import joined
from millstream.connectors.ethernet_ip import EtherNetIpConfig, EtherNetIpConnector
from millstream.model import Value
from millstream.sdk import ConnectorTools, Tag, Write
from millstream.sdk.testing import ConformanceCase, ExpectedValue, Peer

TAGS = (Tag("speed", "Mixer.Speed"), Tag("step", "Step"), Tag("valve", "Valves[3]"))
WRITES = (Write(Tag("speed", "Mixer.Speed"), 2.5), Write(Tag("step", "Step"), 7))
# Tag of the controller, its type there, and the value that it gets before it is read.
EXTREMES: tuple[tuple[str, str, Value], ...] = (
    ("Nan", "LREAL", math.nan),
    ("MinusInfinity", "REAL", -math.inf),
    ("Smallest", "LREAL", 5e-324),
    ("Sint", "SINT", -128),
    ("Lint", "LINT", -(2**63)),
    ("Ulint", "ULINT", 2**64 - 1),
    ("Udint", "UDINT", 2**32 - 1),
    ("Many", "DINT[500]", [(-1) ** i * (2**31 - 1 - i) for i in range(500)]),
)


def address_of(name: str, value: Value) -> str:
    """A list is read from its first element on."""
    return f"{name}[0]{{{len(value)}}}" if isinstance(value, list) else name


@dataclass
class ControllerPeer(Peer):
    """The controller stands behind a relay."""

    relay: cpppo_peer.Relay = field(default_factory=lambda: cpppo_peer.Relay(0))

    async def break_link(self) -> None:
        """The cable is out."""
        await self.relay.cut()

    async def restore_link(self) -> None:
        """It is back."""
        await self.relay.join()

    async def poison(self) -> None:
        """The next answer is one of another protocol."""
        self.relay.poison = b"HTTP/1.1 400 Bad Request\r\n\r\n"


class CpppoCase(ConformanceCase):
    """A controller that knows its tags by name and has no list of them."""

    connector = EtherNetIpConnector
    folder: ClassVar[Path] = Path(package.__file__).parent
    needs: ClassVar[tuple[str, ...]] = ("cpppo",)

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A controller with values at the edges of their types."""
        declared = [f"{name}={data_type}" for name, data_type, _ in EXTREMES]
        expected = tuple(ExpectedValue(Tag(name, address_of(name, value)), value) for name, _, value in EXTREMES)
        async with (
            cpppo_peer.controller("Mixer.Speed=REAL", "Step=DINT", "Valves=BOOL[8]", *declared) as plc,
            joined(cpppo_peer.Relay(plc.port)) as relay,
        ):
            config = {"host": "127.0.0.1", "port": relay.port, "timeout": "5s"}
            peer = ControllerPeer(config, TAGS, Tag("bad", "NoSuchTag"), expected, WRITES, relay=relay)
            await self._place(peer)
            yield peer

    async def _place(self, peer: ControllerPeer) -> None:
        connector = EtherNetIpConnector(EtherNetIpConfig.model_validate(dict(peer.config)), ConnectorTools())
        async with connector.open() as session:
            results = await session.write([Write(item.tag, item.value) for item in peer.extremes])
        assert all(result.quality.is_good for result in results), results


@dataclass
class StandInPeer(Peer):
    """The device in this process."""

    listener: logix_stand_in.Listener = field(default_factory=lambda: logix_stand_in.Listener(logix_stand_in.StandIn()))

    async def break_link(self) -> None:
        """The cable is out."""
        await self.listener.cut()

    async def restore_link(self) -> None:
        """It is back."""
        await self.listener.join()

    async def poison(self) -> None:
        """The next answer is one of another protocol."""

        def once(_: bytes) -> bytes:
            self.listener.device.mutate = None
            return b"HTTP/1.1 400 Bad Request\r\n\r\n"

        self.listener.device.mutate = once


class StandInCase(ConformanceCase):
    """No free simulator has a tag list, which pycomm3 needs, so this device is our own."""

    connector = EtherNetIpConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A controller with a few tags, an array and a structure."""
        atomic = logix_stand_in.atomic
        tags = {
            "Speed": atomic(0xCA, "f", math.inf),
            "Step": atomic(0xC4, "i", 7),
            "Low": atomic(0xC5, "q", -(2**63)),
            "Profile": atomic(0xC4, "i", *range(600)),
            "Recipe": logix_stand_in.Item(logix_stand_in.RECIPE, b"\4\0\0\0\0\0\xc0\x3f", 8, 0x8345),
        }
        listener = logix_stand_in.Listener(logix_stand_in.StandIn(tags))
        await listener.join()
        try:
            config = {"host": "127.0.0.1", "port": listener.port, "timeout": "5s", "driver": "pycomm3"}
            expected = (
                ExpectedValue(Tag("speed", "Speed"), math.inf),
                ExpectedValue(Tag("low", "Low"), -(2**63)),
                ExpectedValue(Tag("list", "Profile[0]{600}"), list(range(600))),
                ExpectedValue(Tag("recipe", "Recipe"), {"Step": 4, "Target": 1.5}),
            )
            good = (Tag("speed", "Speed"), Tag("step", "Step"))
            yield StandInPeer(config, good, Tag("bad", "Nope"), expected, (Write(good[1], 8),), listener=listener)
        finally:
            await listener.cut()


CASES = (CpppoCase(), StandInCase())
