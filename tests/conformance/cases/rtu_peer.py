"""A serial line with Modbus units on it: behind a pseudo terminal, or behind a gateway that passes bytes on to TCP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pymodbus.framer import FramerRTU

from cases.loopback import Loopback

Unit = Callable[[bytes], bytes]
"""Makes the answer to a PDU, function code first."""
Mangle = Callable[[bytes], Awaitable[bytes]]


def framed(unit_id: int, pdu: bytes) -> bytes:
    """On the wire, with the check sum of pymodbus."""
    frame = bytes((unit_id,)) + pdu
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


def request_size(received: bytes) -> int:
    """The length of the request that begins here, 256 while that is not known."""
    if len(received) < 2:
        return 256
    if received[1] in (15, 16):
        return 9 + received[6] if len(received) > 6 else 256
    return 10 if received[1] == 22 else 8


@dataclass
class RtuLine:
    """Units that answer requests with a good check sum; `mangle` may spoil, delay or swallow an answer."""

    units: dict[int, Unit]
    mangle: Mangle | None = None
    requests: list[bytes] = field(default_factory=list)
    _received: bytes = b""

    async def hear(self, data: bytes) -> bytes:
        """What the line says to `data`."""
        self._received += data
        size = request_size(self._received)
        if len(self._received) < size:
            return b""
        request, self._received = self._received[:size], self._received[size:]
        if framed(request[0], request[1:-2]) != request or request[0] not in self.units:
            self._received = b""
            return b""
        self.requests.append(request)
        answer = framed(request[0], self.units[request[0]](request[1:-2]))
        return answer if self.mangle is None else await self.mangle(answer)

    def forget(self) -> None:
        """Half a request is no request."""
        self._received = b""


@dataclass
class TcpGateway(Loopback):
    """A transparent gateway."""

    line: RtuLine

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on."""
        self.line.forget()
        while data := await reader.read(4096):
            writer.write(await self.line.hear(data))


@dataclass
class Terminal:
    """One end of a pseudo terminal; the other is named by the link `path`, as udev names adapters."""

    path: Path
    line: RtuLine
    has_echo: bool = False
    _open: tuple[int, int] | None = None
    _answering: set[asyncio.Task[None]] = field(default_factory=set)

    async def join(self) -> None:
        """Plug in."""
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._open = ours, theirs  # ours to keep: without it the line hangs up each time nobody uses it
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(theirs))
        self.line.forget()
        asyncio.get_running_loop().add_reader(ours, self._read)

    async def cut(self) -> None:
        """Pull the plug."""
        if self._open is None:
            return
        asyncio.get_running_loop().remove_reader(self._open[0])
        for end in self._open:
            os.close(end)
        self._open = None
        self.path.unlink(missing_ok=True)
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def say(self, data: bytes) -> None:
        """Put bytes on the line."""
        if self._open is not None and data:
            os.write(self._open[0], data)

    def _read(self) -> None:
        assert self._open is not None
        with contextlib.suppress(OSError):
            data = os.read(self._open[0], 4096)
            self.say(data if self.has_echo else b"")
            task = asyncio.get_running_loop().create_task(self._answer(data))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, data: bytes) -> None:
        self.say(await self.line.hear(data))
