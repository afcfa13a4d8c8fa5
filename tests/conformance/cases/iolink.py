"""IO-Link in both dialects, against the simulated master."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import millstream.connectors.iolink as package
from cases.loopback import ListeningPeer
from millstream.connectors.iolink import IoLinkConnector
from millstream.sdk import Tag, Write
from millstream.sdk.testing import ConformanceCase, ExpectedValue, NotApplicable, Peer
from millstream.sim.iolink_master import IoLinkMaster

TAGS = (Tag("temperature", "port1:in:int16@16"), Tag("velocity", "port1:in:uint12@4"), Tag("valves", "port2:in"))
EXTREMES = (
    ExpectedValue(Tag("all", "port2:out"), b"\xff\x80"),
    ExpectedValue(Tag("low", "port2:out:int16@0"), -128),
    ExpectedValue(Tag("high", "port2:out:uint8@8"), 255),
    ExpectedValue(Tag("least", "port2:out:int8@0"), -128),
    ExpectedValue(Tag("bit", "port2:out:bool@7"), True),
    ExpectedValue(Tag("product", "port1:product_name"), "TempVib 4"),
)


@dataclass
class MasterPeer(ListeningPeer):
    """The simulated master, which can be switched off and can be made to talk nonsense."""

    master: IoLinkMaster = field(default_factory=lambda: IoLinkMaster(outputs=b"\xff\x80"))
    is_poisoned: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As the master does, or nonsense."""
        if self.is_poisoned:
            self.is_poisoned = False
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
            await writer.drain()
            return
        await self.master.serve_client(reader, writer)

    async def poison(self) -> None:
        """The next connection gets no JSON; the present ones end."""
        self.is_poisoned = True
        await self.drop()

    async def flood(self, limit_bytes: int) -> int:
        """Nothing comes that was not asked for."""
        raise NotApplicable("the runtime asks for each value, so nothing can pile up")


class IoLinkCase(ConformanceCase):
    """One dialect."""

    connector = IoLinkConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    def __init__(self, dialect: str, path: str) -> None:
        self._dialect, self._path = dialect, path

    def __repr__(self) -> str:
        return f"IoLinkCase-{self._dialect}"

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A master of its own."""
        peer = MasterPeer({}, TAGS, Tag("bad", "port3:in:int16@0"), EXTREMES)
        peer.writes = (Write(Tag("valves", "port2:out:uint8@8"), 3),)
        await peer.join()
        peer.config = {"url": f"http://127.0.0.1:{peer.port}{self._path}", "dialect": self._dialect}
        try:
            yield peer
        finally:
            await peer.cut()


CASES = (IoLinkCase("json", "/iolink/v1"), IoLinkCase("iotcore", ""))
