"""Acme device against a small one in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import millstream.connectors.acme_device as package
from millstream.connectors.acme_device import AcmeDeviceConnector
from millstream.sdk import Tag, Write
from millstream.sdk.testing import ConformanceCase, ExpectedValue, Peer

TAGS = (Tag("temperature", "temperature"), Tag("state", "state"))
EXTREMES: dict[str, Any] = {
    "largest": 1.7976931348623157e308,
    "smallest": 5e-324,
    "int_min": -(2**63),
    "uint_max": 2**64 - 1,
    "empty": "",
    "long": "ä" * 5000,
    "truth": True,
    "many": list(range(1000)),
}


@dataclass
class DevicePeer(Peer):
    """Answers READ, WRITE and LIST; can go, come back and talk nonsense."""

    values: dict[str, Any] = field(default_factory=lambda: {"temperature": 20.5, "state": "run", **EXTREMES})
    server: asyncio.Server | None = None
    port: int = 0
    is_poisoned: bool = False
    clients: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = field(default_factory=dict)

    async def restore_link(self) -> None:
        """Listen, on the same port again."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def break_link(self) -> None:
        """Nobody listens, every connection is cut."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for client in self.clients:
            client.transport.abort()
        await asyncio.gather(*(task for task in self.clients.values() if task is not None))

    async def poison(self) -> None:
        """The next request is answered with something else."""
        self.is_poisoned = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients[writer] = asyncio.current_task()
        try:
            while line := await reader.readline():
                writer.write(self._answer(line.decode().rstrip("\n")))
                await writer.drain()
        except OSError:
            pass  # the client has gone
        finally:
            del self.clients[writer]
            writer.close()

    def _answer(self, line: str) -> bytes:
        if self.is_poisoned:
            self.is_poisoned = False
            return b"\xff\x00HTTP/1.1 400\r\n"
        kind, _, rest = line.partition(" ")
        if kind == "LIST":
            return f"OK {json.dumps(sorted(self.values))}\n".encode()
        address, _, text = rest.partition(" ")
        if address not in self.values:
            return b"NO unknown\n"
        if kind == "WRITE":
            self.values[address] = json.loads(text)
        return f"OK {json.dumps(self.values[address], ensure_ascii=False)}\n".encode()


class AcmeDeviceCase(ConformanceCase):
    """One device."""

    connector = AcmeDeviceConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """On a free port."""
        peer = DevicePeer(
            {},
            TAGS,
            Tag("bad", "no_such_address"),
            [ExpectedValue(Tag(name, name), value) for name, value in EXTREMES.items()],
            (Write(Tag("state", "state"), "run"),),
        )
        await peer.restore_link()
        peer.config = {"host": "127.0.0.1", "port": peer.port}
        try:
            yield peer
        finally:
            await peer.break_link()


CASES = (AcmeDeviceCase(),)
