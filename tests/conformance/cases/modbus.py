"""Modbus against the simulated plant, in this process: by TCP, by RTU behind a gateway, by RTU on a serial line."""

from __future__ import annotations

import asyncio
import math
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import millstream.connectors.modbus as package
from cases.loopback import joined
from cases.rtu_peer import RtuLine, TcpGateway, Terminal
from millstream.connectors.modbus import ModbusConnector
from millstream.sdk import Tag, Write
from millstream.sdk.testing import ConformanceCase, ExpectedValue, Peer
from millstream.sim.modbus_plant import ModbusPlant

TAGS = (Tag("heartbeat", "holding:0:uint32"), Tag("steam", "holding:10:float32"), Tag("pump", "coil:0"))
WRITES = (Write(Tag("setpoint", "holding:100:float32"), 2.5), Write(Tag("pump", "coil:3"), True))
TEXT = "ä" * 120
EXTREMES = (
    ("float32", struct.pack(">f", math.nan), math.nan),
    ("float32", struct.pack(">f", -math.inf), -math.inf),
    ("float64", struct.pack(">d", 5e-324), 5e-324),
    ("uint64", b"\xff" * 8, 2**64 - 1),
    ("int64", b"\x80" + bytes(7), -(2**63)),
    ("int16", b"\x80\0", -32768),
    ("bcd64", b"\x99" * 8, 10**16 - 1),
    ("string(240)", TEXT.encode(), TEXT),
    ("string(2)", bytes(2), ""),
    ("bytes(4)", b"\0\xff\0\xfe", b"\0\xff\0\xfe"),
    ("uint16[100]", struct.pack(">100H", *range(100)), list(range(100))),
)


def placed_extremes() -> tuple[dict[int, int], tuple[ExpectedValue, ...]]:
    """The registers that hold them, one after the other from 1000 on and the last at the very end."""
    registers: dict[int, int] = {}
    expected = []
    address = 1000
    for data_type, raw, value in EXTREMES:
        tag = Tag(f"at{address}", f"holding:{address}:{data_type}")
        registers.update(enumerate(struct.unpack(f">{len(raw) // 2}H", raw), address))
        expected.append(ExpectedValue(tag, value))
        address += len(raw) // 2
    registers[65535] = 7
    expected.append(ExpectedValue(Tag("end", "holding:65535"), 7))
    return registers, tuple(expected)


@dataclass
class PlantPeer(Peer):
    """The plant changes by itself; its server can go, come back and talk nonsense."""

    plant: ModbusPlant = field(default_factory=ModbusPlant)
    server: asyncio.Server | None = None
    port: int = 0

    async def restore_link(self) -> None:
        """Listen, on the same port again."""
        self.server = await asyncio.start_server(self.plant.serve_client, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def break_link(self) -> None:
        """Nobody listens, every connection is cut."""
        if self.server is not None:
            self.server.close()
            await self.plant.drop_clients()
            self.server = None

    async def poison(self) -> None:
        """The next request is answered with a frame of another protocol."""
        self.plant.poison = b"\x2b\x0e"


class ModbusCase(ConformanceCase):
    """A device of four tables."""

    connector = ModbusConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """The plant, with values at the edges of their types."""
        registers, extremes = placed_extremes()
        peer = PlantPeer({}, TAGS, Tag("bad", "holding:60"), extremes, WRITES)
        peer.plant.registers.update(registers)
        await peer.restore_link()
        peer.config = {"host": "127.0.0.1", "port": peer.port, "timeout": "2s", "connect_timeout": "2s"}
        try:
            yield peer
        finally:
            await peer.break_link()


@dataclass
class RtuPeer(Peer):
    """The plant at the end of a line, which can be cut and made noisy."""

    end: TcpGateway | Terminal = field(default_factory=lambda: TcpGateway(RtuLine({})))

    async def restore_link(self) -> None:
        """Plug in."""
        await self.end.join()

    async def break_link(self) -> None:
        """Pull the plug."""
        await self.end.cut()

    async def poison(self) -> None:
        """A bit of the next answer is turned."""

        async def spoil(answer: bytes) -> bytes:
            self.end.line.mangle = None
            return answer[:3] + bytes((answer[3] ^ 1,)) + answer[4:]

        self.end.line.mangle = spoil


class RtuOverTcpCase(ConformanceCase):
    """A gateway that passes bytes on."""

    connector = ModbusConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """As by TCP."""
        registers, extremes = placed_extremes()
        end = TcpGateway(RtuLine({1: ModbusPlant(registers=registers).answer}))
        peer = RtuPeer({}, TAGS, Tag("bad", "holding:60"), extremes, WRITES, end=end)
        async with joined(end):
            peer.config = {
                "transport": "rtu_over_tcp", "host": "127.0.0.1", "port": end.port, "timeout": "2s",
                "connect_timeout": "2s",
            }  # fmt: skip
            yield peer


class SerialCase(ConformanceCase):
    """A serial line; a pseudo terminal knows no parity."""

    connector = ModbusConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """As by TCP."""
        registers, extremes = placed_extremes()
        with tempfile.TemporaryDirectory() as folder:
            end = Terminal(Path(folder) / "line", RtuLine({1: ModbusPlant(registers=registers).answer}))
            config = {"transport": "serial", "serial_port": str(end.path), "parity": "none", "timeout": "2s"}
            async with joined(end):
                yield RtuPeer(config, TAGS, Tag("bad", "holding:60"), extremes, WRITES, end=end)


CASES = (ModbusCase(), RtuOverTcpCase(), SerialCase())
