"""Frames of Modbus RTU on a serial line, or on TCP without its header: pure, no I/O.

(MODBUS over Serial Line 1.02, 2.5.1.) A frame has neither a start nor a length: the address of the unit, the PDU, a
check sum. What is being waited for tells where an answer ends. A line brings more than answers: bytes that a driver
makes when it is switched on, what another unit says too late, bits that were turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FRAME_BYTES_MAX = 256  # clause 2.5.1.1
BITS_PER_CHARACTER = 11  # start, eight data, parity or second stop, stop
SILENCE_CHARACTERS = 3.5  # between two frames, clause 2.5.1.1
SILENCE_S_MIN = 0.00175  # above 19,200 baud
_ECHO_BYTES = {5: 8, 6: 8, 15: 8, 16: 8, 22: 10}  # function -> length of the answer to a write
_READS = (1, 2, 3, 4)
_FAULT = 0x80


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc16(data: bytes) -> bytes:
    """The check sum of a frame as it lies on the wire, low byte first (clause 2.5.1.2)."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


class State(Enum):
    """What has come so far."""

    WAITING = "waiting"
    COMPLETE = "complete"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer among the bytes received, when it is complete; `skipped_bytes` came before it and are not its own."""

    state: State
    frame: bytes = b""
    skipped_bytes: int = 0


def find_answer(received: bytes, request: bytes) -> Finding:
    """The answer to `request` (a whole frame) in all that was received since it was sent.

    Damaged means that nothing that may still come can make an answer of it.
    """
    unit_id, function = request[0], request[1]
    may_grow = False
    for at in range(len(received) - 1):
        if received[at] != unit_id or received[at + 1] & ~_FAULT != function:
            continue
        size = _size(received[at:], function)
        if size is None or at + size > len(received):
            may_grow = True
            continue
        frame = received[at : at + size]
        if crc16(frame[:-2]) == frame[-2:]:
            return Finding(State.COMPLETE, frame, at)
    if may_grow and len(received) < 2 * FRAME_BYTES_MAX:
        return Finding(State.WAITING)
    is_damaged = len(received) >= _size_asked(request)
    return Finding(State.DAMAGED if is_damaged else State.WAITING)


def _size(start: bytes, function: int) -> int | None:
    """The length of the frame that begins with `start`; None while that is not known."""
    if start[1] & _FAULT:
        return 5
    if function not in _READS:
        return _ECHO_BYTES.get(function, 5)
    return start[2] + 5 if len(start) > 2 else None


def _size_asked(request: bytes) -> int:
    function = request[1]
    if function not in _READS:
        return _ECHO_BYTES.get(function, 5)
    count = int.from_bytes(request[4:6], "big")
    return 5 + (2 * count if function in (3, 4) else (count + 7) // 8)


def silence_s(baud_rate: int) -> float:
    """How long the line must be silent before a request."""
    return max(SILENCE_S_MIN, SILENCE_CHARACTERS * BITS_PER_CHARACTER / baud_rate)
