"""Whole EtherNet/IP frames from a socket, with deadlines and errors that say what happened.

Both libraries wait for ever on half a frame of a peer that has gone (a receive of nothing is taken for more to come),
swallow or blur the cause of an error, and take what came for an answer whatever it is. So each frame is looked at here.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from millstream.connectors.ethernet_ip._faults import NEXT_STEP, MessageRefused
from millstream.kernel import Clock, ProtocolViolation, Unreachable

HEADER_BYTES = 24  # CIP Networks Library volume 2, 2-3.1
# Least length of a whole reply by its command: list identity, register, unconnected and connected data.
_BYTES_MIN = {0x63: 26, 0x65: 28, 0x6F: 44, 0x70: 50}
FRAME_BYTES_KEPT = 256  # of a frame that breaks the protocol


class FrameReader:
    """Reads frames of one connection. `frames_left` bounds how many one call of a library may take."""

    def __init__(self, where: str, timeout_s: float, clock: Clock) -> None:
        self.where = where
        self.frames_left = 0
        self.last_frame = b""
        self._timeout_s = timeout_s
        self._clock = clock
        self._is_aborted = False

    def read(self, link: socket.socket) -> bytes:
        """The next whole frame. Raises Unreachable, ProtocolViolation."""
        if self.frames_left <= 0:
            raise self.broken("device does not come to an end", self.last_frame)
        self.frames_left -= 1
        deadline_ns = self._clock.monotonic_ns() + int(self._timeout_s * 1e9)
        header = self._exactly(link, HEADER_BYTES, deadline_ns)
        command, length, _, status = struct.unpack_from("<HHII", header)
        if command not in _BYTES_MIN:
            raise self.broken("answer is no EtherNet/IP frame", header)
        frame = header + self._exactly(link, length, deadline_ns)
        if status:
            raise MessageRefused(
                f"device refuses the message: encapsulation status 0x{status:02X}",
                where=self.where,
                next_step="the connection is opened anew",
            )
        if len(frame) < _BYTES_MIN[command]:
            raise self.broken(f"answer is too short: {len(frame)} bytes", frame)
        self.last_frame = frame
        return frame

    def _exactly(self, link: socket.socket, count: int, deadline_ns: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            left_s = (deadline_ns - self._clock.monotonic_ns()) / 1e9
            if self._is_aborted or left_s <= 0:
                raise self.lost(f"no answer within {self._timeout_s:g} s")
            try:
                link.settimeout(left_s)
                part = link.recv(count - len(parts))
            except TimeoutError as error:
                raise self.lost(f"no answer within {self._timeout_s:g} s") from error
            except OSError as error:
                raise self.lost(f"link is lost: {error.strerror or error}") from error
            if not part:
                raise self.lost("device closed the connection")
            parts += part
        return bytes(parts)

    def abort(self, link: socket.socket) -> None:
        """From another thread: a call that waits on `link` ends now, and no other begins."""
        self._is_aborted = True
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)

    def lost(self, what: str) -> Unreachable:
        """There is no link any more."""
        return Unreachable(what, where=self.where, next_step=NEXT_STEP)

    def broken(self, what: str, frame: bytes) -> ProtocolViolation:
        """The device does not keep to the protocol."""
        return ProtocolViolation(what, where=self.where, frame=frame[:FRAME_BYTES_KEPT])


def reply_status(frame: bytes) -> tuple[int, int | None]:
    """General and extended status of the reply in a whole frame of data (volume 1, 2-4.2)."""
    if len(frame) < 44:
        return 0, None
    at = 42 if frame[0] == 0x6F else 48
    extended_words = frame[at + 1] if len(frame) > at + 1 else 0
    if extended_words and len(frame) >= at + 4:
        return frame[at], int.from_bytes(frame[at + 2 : at + 4], "little")
    return frame[at], None
