"""Answers of a PLC to "read var" and "write var", byte by byte: pure, no I/O.

The client library reads them too, but turns a return code such as "object does not exist" into "truncated item", and
takes no more than one of them for a whole request. Here each item keeps its own code.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from millstream.kernel import DecodeError
from millstream.protocols.s7_plan import Block

PROTOCOL_ID = 0x32
ACK, ACK_DATA = 2, 3
SETUP, READ, WRITE = 0xF0, 0x04, 0x05
DONE = 0xFF
PDU_BYTES_MIN = 112  # the smallest that any CPU offers
_HEADER = struct.Struct(">BBHHHHBB")
_BIT_LENGTHS = (0x03, 0x04, 0x05)  # transport sizes whose length counts bits; the others count bytes
_BIT = 0x03
CPU_STATES = {
    1: "stop (update)", 2: "stop (memory reset)", 3: "stop (self-initialisation)", 4: "stop", 5: "start-up (cold)",
    6: "start-up (warm)", 7: "start-up (hot)", 8: "run", 9: "run (redundant)", 10: "hold", 11: "run (link-up)",
    12: "run (update)", 13: "defective", 14: "self-test", 15: "no power",
}  # fmt: skip
_RUNNING = (8, 9, 11, 12)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an answer: its return code and, when that is `DONE`, its bytes."""

    code: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: the error word of its header (0: none), and its parameter and data parts."""

    error: int
    parameters: bytes
    data: bytes


def parse_answer(frame: bytes, request: bytes) -> Answer:
    """The answer in `frame` to `request`. Raises DecodeError when it is none."""
    if len(frame) < _HEADER.size:
        raise DecodeError("S7 answer is too short", expected=f"at least {_HEADER.size} bytes", got=str(len(frame)))
    protocol, kind, _, number, parameters_size, data_size, high, low = _HEADER.unpack_from(frame)
    if protocol != PROTOCOL_ID or kind not in (ACK, ACK_DATA):
        raise DecodeError("no S7 answer", expected="protocol 0x32, kind 2 or 3", got=f"0x{protocol:02x}, kind {kind}")
    if frame[4:6] != request[4:6]:
        asked = int.from_bytes(request[4:6], "big")
        raise DecodeError("S7 answer belongs to another request", expected=f"number {asked}", got=str(number))
    if len(frame) != _HEADER.size + parameters_size + data_size:
        raise DecodeError(
            "S7 answer is cut off or too long",
            expected=f"{_HEADER.size + parameters_size + data_size} bytes",
            got=str(len(frame)),
        )
    middle = _HEADER.size + parameters_size
    return Answer(high << 8 | low, frame[_HEADER.size : middle], frame[middle:])


def pdu_bytes_of(answer: Answer) -> int:
    """The PDU size that the PLC agreed to. Raises DecodeError."""
    if answer.error == 0 and len(answer.parameters) == 8 and answer.parameters[0] == SETUP:
        size = int.from_bytes(answer.parameters[6:8], "big")
        if size >= PDU_BYTES_MIN:
            return size
    raise DecodeError("no answer to setup communication", got=answer.parameters.hex() or f"error 0x{answer.error:04x}")


def parse_items(answer: Answer, blocks: tuple[Block, ...]) -> list[Item]:
    """One item for each block that was asked for, in order. Raises DecodeError for anything but that."""
    if answer.parameters != bytes((READ, len(blocks))):
        raise DecodeError(
            "not the answer to this read", expected=bytes((READ, len(blocks))).hex(), got=answer.parameters.hex()
        )
    items: list[Item] = []
    at = 0
    for number, block in enumerate(blocks):
        if at + 4 > len(answer.data):
            raise DecodeError("S7 answer has too few items", expected=str(len(blocks)), got=str(number))
        code, transport, length = struct.unpack_from(">BBH", answer.data, at)
        at += 4
        if code != DONE:
            # What stands in the other two fields then depends on the CPU; no data follow.
            items.append(Item(code))
            continue
        size = (length + 7) // 8 if transport in _BIT_LENGTHS and transport != _BIT else length
        if size != block.size_bytes or at + size > len(answer.data):
            raise DecodeError("S7 item has another size", expected=f"{block.size_bytes} bytes", got=f"{size} bytes")
        items.append(Item(code, answer.data[at : at + size]))
        at += size + (size % 2 if number < len(blocks) - 1 else 0)
    if at < len(answer.data) - 1:  # one fill byte after the last item is tolerated
        raise DecodeError("S7 answer has bytes left over", expected=f"{at} bytes", got=f"{len(answer.data)} bytes")
    return items


def parse_write_code(answer: Answer) -> int:
    """The return code of a write of one item. Raises DecodeError."""
    if answer.parameters != bytes((WRITE, 1)) or len(answer.data) < 1:
        raise DecodeError("not the answer to this write", expected="0501", got=answer.parameters.hex())
    return answer.data[0]


def cpu_state(data: bytes) -> tuple[bool, str]:
    """Whether the CPU runs, and its mode in words, from the data of the status list 0x0424.

    They begin with the size and number of its records; the fourth byte of the first is the mode. Raises DecodeError.
    """
    if len(data) < 8 or data[2:4] == b"\0\0":
        raise DecodeError("status list has no record of the CPU's mode", expected="8 bytes", got=data[:16].hex())
    state = data[7] & 0x0F  # the upper half is the mode before
    return state in _RUNNING, CPU_STATES.get(state, "unknown")
