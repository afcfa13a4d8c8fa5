"""Frames of devices that send text: lines, blocks between two control characters, or a fixed number of bytes. Pure.

A device on a serial line can say anything: half a frame after it is switched on, noise, a frame without an end. What is
no frame is given back as it came, with the reason, and reading goes on at the next frame. The reader keeps no more than
one frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from operator import xor

from millstream.kernel import ConfigError

FRAME_BYTES_MAX = 65536
_BETWEEN = b"\r\n\t \0"  # what may stand between two frames without being junk


@dataclass(frozen=True, slots=True)
class Framing:
    """How frames are told apart.

    With `size_bytes` a frame is so many bytes, behind `start` if there is one. Else it ends with any of `ends`; with a
    `start` only what lies behind that counts. `has_check`: the end is followed by one byte, the exclusive or of all
    behind `start` up to and with the end (the BCC of many scales).
    """

    start: bytes = b""
    ends: tuple[bytes, ...] = (b"\r", b"\n")
    size_bytes: int = 0
    has_check: bool = False
    frame_bytes_max: int = 4096

    def __post_init__(self) -> None:
        if not self.size_bytes and not (self.ends and all(self.ends)):
            raise ConfigError("frames have no end", expected="an end, or a size in bytes", code="MS-1900")
        if self.has_check and self.size_bytes:
            raise ConfigError("a frame of fixed size has no check byte", expected="an end", code="MS-1900")
        if not 1 <= max(self.size_bytes, self.frame_bytes_max) <= FRAME_BYTES_MAX:
            raise ConfigError("frame is too large", expected=f"at most {FRAME_BYTES_MAX} bytes", code="MS-1900")


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame's content, or, with a `reason`, bytes that are none."""

    data: bytes
    reason: str | None = None


class FrameReader:
    """Cuts what one device sends into frames, however the bytes are chunked."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._end = re.compile(b"|".join(re.escape(end) for end in sorted(framing.ends, key=len, reverse=True)))
        self._overlap = max((len(end) for end in framing.ends), default=1) - 1
        self._buffer = bytearray()
        self._searched = 0  # no end begins before this place
        self._is_inside = not framing.start
        self._is_skipping = False  # the frame was too long, its rest is dropped

    @property
    def kept_bytes(self) -> int:
        """What waits for its end; never more than one frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Piece]:
        """Frames and junk that `data` completes, in order."""
        self._buffer += data
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return pieces

    def rest(self) -> list[Piece]:
        """What waits in vain when the link is gone; the reader is then as new."""
        left = bytes(self._buffer)
        is_junk = left.strip(_BETWEEN) and not self._is_skipping
        self.__init__(self._framing)  # type: ignore[misc]
        return [Piece(left, "frame is cut off")] if is_junk else []

    def _step(self, pieces: list[Piece]) -> bool:
        """Take one piece off the buffer. False when more bytes are needed."""
        if not self._is_inside:
            return self._find_start(pieces)
        if self._framing.size_bytes:
            return self._take_sized(pieces)
        return self._take_ended(pieces)

    def _find_start(self, pieces: list[Piece]) -> bool:
        start = self._framing.start
        at = self._buffer.find(start)
        limit = self._framing.frame_bytes_max
        if at < 0 and len(self._buffer) <= limit:
            return False
        cut = at if at >= 0 else len(self._buffer) - len(start) + 1
        _add_junk(pieces, bytes(self._buffer[:cut]), "bytes outside of a frame", limit)
        self._drop(cut + (len(start) if at >= 0 else 0))
        self._is_inside = at >= 0
        return at >= 0

    def _take_sized(self, pieces: list[Piece]) -> bool:
        size = self._framing.size_bytes
        if len(self._buffer) < size:
            return False
        pieces.append(Piece(bytes(self._buffer[:size])))
        self._drop(size)
        self._is_inside = not self._framing.start
        return True

    def _take_ended(self, pieces: list[Piece]) -> bool:
        framing = self._framing
        match = self._end.search(self._buffer, self._searched)
        if match is None:
            self._searched = max(0, len(self._buffer) - self._overlap)
            return self._give_up_long(pieces)
        after = match.end() + framing.has_check
        if len(self._buffer) < after:
            return False
        raw, end = bytes(self._buffer[: match.start()]), match.group()
        check = self._buffer[match.end()] if framing.has_check else None
        self._drop(after)
        self._is_inside = not framing.start
        if self._is_skipping:
            self._is_skipping = False
            return True
        if framing.start and framing.start in raw:
            # The end of the frame before was lost; behind the last start lies this one's content.
            broken, _, raw = raw.rpartition(framing.start)
            _add_junk(pieces, broken, "frame has no end", framing.frame_bytes_max)
        self._add(pieces, raw, is_checked=check is None or check == reduce(xor, raw + end, 0))
        return True

    def _add(self, pieces: list[Piece], raw: bytes, *, is_checked: bool) -> None:
        limit = self._framing.frame_bytes_max
        if len(raw) > limit:
            pieces.append(Piece(raw[:limit], f"frame is longer than {limit} bytes"))
        elif not is_checked:
            pieces.append(Piece(raw, "check byte is wrong"))
        elif raw or self._framing.start:
            pieces.append(Piece(raw))

    def _give_up_long(self, pieces: list[Piece]) -> bool:
        framing, limit = self._framing, self._framing.frame_bytes_max
        if len(self._buffer) <= limit + self._overlap:
            return False
        if framing.start:
            # A new start is where to go on; without one, everything up to the next is junk.
            before, found, rest = bytes(self._buffer).rpartition(framing.start)
            _add_junk(pieces, before if found else rest, "frame has no end", limit)
            self._is_inside = bool(found)
            self._drop(len(before) + len(found) if found else len(rest) - len(framing.start) + 1)
            return bool(found)
        if not self._is_skipping:
            pieces.append(Piece(bytes(self._buffer[:limit]), f"frame is longer than {limit} bytes"))
        self._is_skipping = True
        self._drop(len(self._buffer) - self._overlap)
        return False

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = 0


def _add_junk(pieces: list[Piece], data: bytes, reason: str, limit: int) -> None:
    if data.strip(_BETWEEN):
        pieces.append(Piece(data[:limit], reason))
