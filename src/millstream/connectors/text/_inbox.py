"""What devices have sent and nobody has read yet; when that is too much, the devices have to wait."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from millstream.kernel import PlantError, Unreachable

WAITING_BYTES_MAX = 1 << 16  # per connector; beyond it nothing is read from any device
CHUNK_BYTES_MAX = 4096  # what is given out at once, so that a batch stays small


class Line(Protocol):
    """One device's way in."""

    peer: str

    def write(self, data: bytes) -> bool:
        """Send. False when the device is gone or takes nothing."""
        ...

    def pause(self) -> None:
        """Read nothing more."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def close(self) -> None:
        """At once."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one device; `is_end`: it is gone, and nothing more comes of it."""

    line_id: int
    peer: str
    data: bytes
    is_end: bool = False


class Inbox:
    """A bounded queue of chunks, filled by callbacks of the loop and emptied by the session."""

    def __init__(self) -> None:
        self.lines: dict[int, Line] = {}
        self._chunks: deque[Chunk] = deque()  # bounded by the bytes in it, and by the number of lines
        self._waiting_bytes = 0
        self._is_paused = False
        self._changed = asyncio.Event()
        self._error: PlantError | None = None

    def joined(self, line: Line) -> None:
        """A device is there."""
        self.lines[id(line)] = line
        if self._is_paused:
            line.pause()
        self._changed.set()

    def received(self, line: Line, data: bytes) -> None:
        """It sent something."""
        self._chunks.append(Chunk(id(line), line.peer, data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > WAITING_BYTES_MAX and not self._is_paused:
            self._is_paused = True
            for each in self.lines.values():
                each.pause()
        self._changed.set()

    def left(self, line: Line, error: PlantError) -> None:
        """It is gone. When it was the last one, `error` follows what it had sent."""
        if self.lines.pop(id(line), None) is None:
            return
        self._chunks.append(Chunk(id(line), line.peer, b"", is_end=True))
        if not self.lines:
            self._error = error
        self._changed.set()

    async def wait_for_a_line(self) -> None:
        """Until a device is there."""
        while not self.lines:
            self._changed.clear()
            await self._changed.wait()
        self._error = None

    async def take(self) -> Chunk:
        """The next chunk. Raises Unreachable when nothing is left and nobody is there."""
        while not self._chunks:
            if self.lines:
                self._error = None
            elif self._error is not None:
                raise self._error
            else:
                raise Unreachable("link is closed")
            self._changed.clear()
            await self._changed.wait()
        chunk = self._chunks.popleft()
        if len(chunk.data) > CHUNK_BYTES_MAX:
            rest = Chunk(chunk.line_id, chunk.peer, chunk.data[CHUNK_BYTES_MAX:])
            self._chunks.appendleft(rest)
            chunk = Chunk(chunk.line_id, chunk.peer, chunk.data[:CHUNK_BYTES_MAX])
        self._waiting_bytes -= len(chunk.data)
        if self._is_paused and self._waiting_bytes <= WAITING_BYTES_MAX // 2:
            self._is_paused = False
            for line in self.lines.values():
                line.resume()
        return chunk

    def send(self, data: bytes) -> bool:
        """To every device. False when there is none, or one of them did not take it."""
        taken = [line.write(data) for line in list(self.lines.values())]
        return bool(taken) and all(taken)

    def close(self) -> None:
        """Every line."""
        for line in list(self.lines.values()):
            line.close()
        self.lines.clear()
