"""An adapter in this process, with levers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from millstream.sdk.testing import Peer

FLOOD_STALL_S = 1.0


@dataclass
class ShdrPeer(Peer):
    """Speaks SHDR to every client. `line` makes the next line of `produce`."""

    line: Callable[[int], str] = lambda number: f"|n|{number}"
    pong_ms: int | None = 10_000
    port: int = 0
    produced_count: int = 0
    pings_count: int = 0
    greeting: bytes = b""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, on the same port again after a break."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop everyone."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in list(self.writers):
            writer.transport.abort()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.writers.add(writer)
        try:
            writer.write(self.greeting)
            while line := await reader.readline():
                if line == b"* PING\n":
                    self.pings_count += 1
                    if self.pong_ms is not None:
                        writer.write(f"* PONG {self.pong_ms}\n".encode())
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            self.tasks.discard(task)
            writer.close()

    def send(self, data: bytes) -> None:
        """To every client."""
        for writer in list(self.writers):
            writer.write(data)

    async def connected(self) -> None:
        """Wait for a client."""
        async with asyncio.timeout(60):
            while not self.writers:
                await asyncio.sleep(0.005)

    async def produce(self) -> None:
        """One more line."""
        self.produced_count += 1
        self.send((self.line(self.produced_count) + "\n").encode())

    async def break_link(self) -> None:
        """Down, port closed."""
        await self.stop()

    async def restore_link(self) -> None:
        """Up again."""
        await self.start()

    async def poison(self) -> None:
        """Bytes that are no line of SHDR."""
        self.send(b"\xff\xfe\x00 garbage without a bar\n")

    async def flood(self, limit_bytes: int) -> int:
        """Lines until TCP holds us back."""
        (writer,) = self.writers
        chunk = f"{self.line(2)}\n".encode() * 500
        taken = 0
        with contextlib.suppress(TimeoutError):
            while taken < limit_bytes:
                writer.write(chunk)
                taken += len(chunk)
                async with asyncio.timeout(FLOOD_STALL_S):
                    await writer.drain()
        return taken


@asynccontextmanager
async def running(peer: ShdrPeer) -> AsyncIterator[ShdrPeer]:
    """Start, give, stop."""
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()
