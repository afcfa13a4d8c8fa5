"""Devices that send text: one that is connected to, one that connects, one at a serial line."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from cases.loopback import Loopback
from cases.rtu_peer import RtuLine, Terminal

FLOOD_CHUNK_BYTES = 16_384


@dataclass
class Device(Loopback):
    """What the three have in common: a number of connections, each of which hears what the device says."""

    heard: bytearray = field(default_factory=bytearray)
    on_command: Callable[[bytes], bytes] | None = None
    """The answer to what it is sent."""

    def say(self, data: bytes) -> None:
        """To all."""
        for writer in self.writers:
            writer.write(data)

    async def tell(self, data: bytes) -> None:
        """Say it as soon as somebody is there."""
        while not self.writers:
            await asyncio.sleep(0.01)
        self.say(data)

    async def flood(self, line: bytes, limit_bytes: int) -> int:
        """Say `line` until nobody takes it for a second; how many bytes were taken."""
        taken = 0
        chunk = line * (FLOOD_CHUNK_BYTES // len(line))
        with contextlib.suppress(TimeoutError):
            while taken < limit_bytes:
                for writer in self.writers:
                    writer.write(chunk)
                    async with asyncio.timeout(1):
                        await writer.drain()
                taken += len(chunk)
        return taken

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear, and answer commands."""
        while data := await reader.read(4096):
            self.heard += data
            if self.on_command is not None:
                writer.write(self.on_command(data))


class Listener(Device):
    """A device with a port."""


@dataclass
class Dialer(Device):
    """A device that connects to `port`, again and again."""

    dialing: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Begin to dial."""
        self.dialing = asyncio.get_running_loop().create_task(self._dial(), name="dialer")

    async def cut(self) -> None:
        """No longer."""
        if self.dialing is not None:
            self.dialing.cancel()
            await asyncio.gather(self.dialing, return_exceptions=True)
            self.dialing = None
        await self.drop()

    async def _dial(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                await asyncio.wait({self.accept(reader, writer)})
            await asyncio.sleep(0.01)


@dataclass
class Plugged(Terminal):
    """A device at a serial line."""

    line: RtuLine = field(default_factory=lambda: RtuLine({}))
    heard: bytearray = field(default_factory=bytearray)
    on_command: Callable[[bytes], bytes] | None = None

    async def tell(self, data: bytes) -> None:
        """Say it."""
        self.say(data)

    async def _answer(self, data: bytes) -> None:
        self.heard += data
        if self.on_command is not None:
            self.say(self.on_command(data))

    async def flood(self, line: bytes, limit_bytes: int) -> int:
        """Until the line takes no more for a second."""
        taken = refused = 0
        assert self._open is not None
        while taken < limit_bytes and refused < 100:
            try:
                taken += os.write(self._open[0], line)
                refused = 0
            except BlockingIOError:
                refused += 1
                await asyncio.sleep(0.01)
        return taken
