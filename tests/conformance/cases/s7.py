"""S7 against the C++ server of snap7."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import millstream.connectors.s7 as package
from cases.snap7_peer import POISON, Plc, Wire
from millstream.connectors.s7 import S7Connector
from millstream.model import Value
from millstream.sdk import Tag, Write
from millstream.sdk.testing import ConformanceCase, ExpectedValue, Peer

TAGS = (Tag("force", "DB1.DBD0:REAL"), Tag("strokes", "DB1.DBD4:DINT"), Tag("lamp", "M0.1"), Tag("guard", "I1.0"))
WRITES = (Write(Tag("setpoint", "DB1.DBD8:REAL"), 2.5), Write(Tag("lamp", "M0.2"), True))
EXTREMES: tuple[tuple[str, bytes, Value], ...] = (
    ("REAL", struct.pack(">f", math.nan), math.nan),
    ("REAL", struct.pack(">f", -math.inf), -math.inf),
    ("LREAL", struct.pack(">d", 5e-324), 5e-324),
    ("ULINT", b"\xff" * 8, 2**64 - 1),
    ("LINT", b"\x80" + bytes(7), -(2**63)),
    ("INT", b"\x80\0", -32768),
    ("STRING[254]", b"\xfe\xfe" + b"\xe4" * 254, "ä" * 254),
    ("STRING[2]", b"\2\0\0\0", ""),
    ("WSTRING[400]", struct.pack(">HH", 400, 400) + "€".encode("utf-16-be") * 400, "€" * 400),
    ("DTL", struct.pack(">H6BI", 2262, 4, 11, 6, 23, 47, 16, 854775807), "2262-04-11T23:47:16.854775807"),
    ("DATE_AND_TIME", bytes.fromhex("8912312359599997"), "2089-12-31T23:59:59.999"),
    ("S5TIME", bytes.fromhex("3999"), 9_990_000),
    ("TIME", b"\x80\0\0\0", -(2**31)),
    ("INT[300]", struct.pack(">300h", *range(-150, 150)), list(range(-150, 150))),
)


def placed_extremes() -> tuple[bytes, tuple[ExpectedValue, ...]]:
    """A block that holds them, one after the other, and what a session must make of it."""
    raw = b""
    expected = []
    for data_type, part, value in EXTREMES:
        expected.append(ExpectedValue(Tag(f"at{len(raw)}", f"DB2.DBB{len(raw)}:{data_type}"), value))
        raw += part + bytes(len(part) % 2)
    return raw, tuple(expected)


@dataclass
class PlcPeer(Peer):
    """The PLC can lose power and come back; the wire to it can carry nonsense."""

    plc: Plc = field(default_factory=lambda: Plc({}))
    wire: Wire = field(default_factory=lambda: Wire(0))

    async def restore_link(self) -> None:
        """Power on."""
        await self.plc.start()
        self.wire.upstream = self.plc.port
        await self.wire.join()

    async def break_link(self) -> None:
        """Power off."""
        await self.wire.cut()
        await self.plc.kill()

    async def poison(self) -> None:
        """The next answer has no S7 in it."""
        self.wire.answers_bad.append(POISON)


class S7Case(ConformanceCase):
    """A PLC with two data blocks, inputs and merkers, at the PDU size of an S7-300."""

    connector = S7Connector
    folder: ClassVar[Path] = Path(package.__file__).parent
    needs = ("node-snap7",)

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """The PLC, with values at the edges of their types."""
        block, extremes = placed_extremes()
        peer = PlcPeer({}, TAGS, Tag("bad", "DB1.DBD200"), extremes, WRITES)
        first = struct.pack(">fi", 12.5, -7) + bytes(92)
        peer.plc.memory = {"DB": {1: first, 2: block}, "MK": b"\x02" + bytes(15), "PE": b"\0\1", "PA": bytes(2)}
        await peer.restore_link()
        peer.config = {"host": "127.0.0.1", "port": peer.wire.port, "timeout": "2s", "connect_timeout": "2s"}
        try:
            yield peer
        finally:
            await peer.break_link()


CASES = (S7Case(),)
