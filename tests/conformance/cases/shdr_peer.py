"""An adapter in this process, with levers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from cases.loopback import ListeningPeer

FLOOD_STALL_S = 1.0


@dataclass
class ShdrPeer(ListeningPeer):
    """Speaks SHDR to every client. `line` makes the next line of `produce`."""

    line: Callable[[int], str] = lambda number: f"|n|{number}"
    pong_ms: int | None = 10_000
    produced_count: int = 0
    pings_count: int = 0
    greeting: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greet, then answer pings."""
        writer.write(self.greeting)
        while line := await reader.readline():
            if line == b"* PING\n":
                self.pings_count += 1
                if self.pong_ms is not None:
                    writer.write(f"* PONG {self.pong_ms}\n".encode())

    def send(self, data: bytes) -> None:
        """To every client."""
        for writer in self.writers:
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
