"""Modbus addresses, and which requests read them: pure, no I/O (MODBUS Application Protocol 1.1b3, clauses 4 and 6).

An address is ``<table>:<number>[.<bit>][:<type>][:<order>]``, counted from zero as on the wire:

    coil:12                  one bit, read and write            holding:100:float32        two registers
    discrete:3               one bit, read only                 holding:100:int32:CDAB     with its own byte order
    holding:7                uint16                             input:40:uint16[8]         a list of eight values
    holding:7.3              bit 3 (0 = least significant)      holding:200:string(16)     sixteen bytes of text

Types: ``bool int8 uint8 int8_high uint8_high int16 .. uint64 float16 float32 float64 bcd16 bcd32 bcd64``, ``string(n)``
and ``bytes(n)``.
The order names the bytes A (most significant) to D as they come on the wire; the same pattern holds for 64-bit values.
The five and six digit notation of data sheets (``40101:float32``, counted from one) is understood too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from millstream.kernel import ConfigError, DecodeError, suggest
from millstream.model import Value

REGISTERS_COUNT_MAX = 125  # a read request of registers, clause 6.3
BITS_COUNT_MAX = 2000  # a read request of coils or discrete inputs, clause 6.1
WRITE_REGISTERS_COUNT_MAX = 123  # clause 6.12
ADDRESS_MAX = 0xFFFF


class Table(Enum):
    """The four tables of the data model, clause 4.3; the value is the read function code."""

    COIL = 1
    DISCRETE = 2
    HOLDING = 3
    INPUT = 4

    @property
    def has_bits(self) -> bool:
        """True for coils and discrete inputs."""
        return self in (Table.COIL, Table.DISCRETE)

    @property
    def is_writable(self) -> bool:
        """True for coils and holding registers."""
        return self in (Table.COIL, Table.HOLDING)


ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_SHORT_ORDERS = {"AB": "ABCD", "BA": "BADC"}
_TABLES = {"coil": Table.COIL, "discrete": Table.DISCRETE, "holding": Table.HOLDING, "input": Table.INPUT}
_DIGIT_TABLES = {"0": Table.COIL, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}
_FORMATS = {
    "int16": "h",
    "uint16": "H",
    "float16": "e",
    "int32": "i",
    "uint32": "I",
    "float32": "f",
    "int64": "q",
    "uint64": "Q",
    "float64": "d",
}
_BYTE_TYPES = {"int8": (1, True), "uint8": (1, False), "int8_high": (0, True), "uint8_high": (0, False)}
_BCD_REGISTERS = {"bcd16": 1, "bcd32": 2, "bcd64": 4}
_TYPES = ("bool", *_FORMATS, *_BYTE_TYPES, *_BCD_REGISTERS, "string", "bytes")
_WRITE_ANSWER_LENGTHS = {
    5: 6,
    6: 6,
    15: 6,
    16: 6,
    22: 8,
}  # unit, function and an echo, clauses 6.5, 6.6, 6.11, 6.12, 6.16
_ADDRESS = re.compile(
    r"(?:(?P<table>[a-z]+):)?(?P<number>\d{1,6})(?:\.(?P<bit>\d{1,2}))?"
    r"(?::(?P<type>[a-z0-9_]+)(?:\((?P<length>\d{1,3})\))?(?:\[(?P<repeat>\d{1,4})\])?)?(?::(?P<order>[A-D]{2,4}))?\Z",
    re.ASCII,
)
_RANGE = re.compile(r"(?P<table>[a-z]+):(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Point:
    """One parsed address: where it starts (from zero), how many registers or bits it takes, how to read them.

    `repeat` is None for one value, else the length of the list; `bit` is set for a bit of a register; `length_bytes`
    only for strings and raw bytes.
    """

    table: Table
    address: int
    data_type: str
    count: int
    order: str = "ABCD"
    bit: int | None = None
    repeat: int | None = None
    length_bytes: int = 0

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.count


def _refuse(what: str, text: str, *, expected: str, next_step: str | None = None) -> ConfigError:
    return ConfigError(what, expected=expected, got=repr(text), next_step=next_step, code="MS-0120")


@lru_cache(maxsize=65536)
def parse_address(text: str, order: str = "ABCD") -> Point:
    """The point that `text` names; `order` holds for values of several registers that name none. Raises ConfigError."""
    match = _ADDRESS.match(text.strip())
    if match is None:
        raise _refuse(
            "not a Modbus address",
            text,
            expected="<table>:<number>[.<bit>][:<type>][:<order>], e.g. holding:100:float32",
        )
    table, address = _place(match, text)
    data_type = match["type"] or ("bool" if table.has_bits or match["bit"] is not None else "uint16")
    if data_type not in _TYPES:
        near = suggest(data_type, _TYPES)
        raise _refuse(
            "unknown Modbus data type",
            text,
            expected=", ".join(_TYPES),
            next_step=f"did you mean {near}?" if near else None,
        )
    bit = None if match["bit"] is None else int(match["bit"])
    _check_shape(match, table, data_type, bit, text)
    repeat = None if match["repeat"] is None else int(match["repeat"])
    length = int(match["length"]) if match["length"] else 0
    point = Point(
        table=table,
        address=address,
        data_type=data_type,
        count=_width(data_type, length) * (repeat or 1),
        order=_order(match["order"], data_type, order, text),
        bit=bit,
        repeat=repeat,
        length_bytes=length,
    )
    limit = BITS_COUNT_MAX if table.has_bits else REGISTERS_COUNT_MAX
    if not 1 <= point.count <= limit or point.end > ADDRESS_MAX + 1:
        raise _refuse(
            "Modbus address does not fit", text, expected=f"1 to {limit} in one request, ending at {ADDRESS_MAX}"
        )
    return point


def _place(match: re.Match[str], text: str) -> tuple[Table, int]:
    number, name = match["number"], match["table"]
    if name is not None:
        if name not in _TABLES:
            near = suggest(name, list(_TABLES))
            raise _refuse(
                "unknown Modbus table",
                text,
                expected="coil, discrete, holding or input",
                next_step=f"did you mean {near}?" if near else None,
            )
        if int(number) > ADDRESS_MAX:
            raise _refuse("Modbus address is too large", text, expected=f"0 to {ADDRESS_MAX}")
        return _TABLES[name], int(number)
    if len(number) < 5 or number[0] not in _DIGIT_TABLES or not 1 <= int(number[1:]) <= ADDRESS_MAX + 1:
        raise _refuse(
            "Modbus address names no table",
            text,
            expected="coil:, discrete:, holding: or input: before the number",
            next_step="five or six digits of a data sheet work too, e.g. 40101",
        )
    return _DIGIT_TABLES[number[0]], int(number[1:]) - 1


def _check_shape(match: re.Match[str], table: Table, data_type: str, bit: int | None, text: str) -> None:
    if (data_type in ("string", "bytes")) != (match["length"] is not None):
        raise _refuse(
            "length does not fit the type", text, expected="a length for string(n) and bytes(n), none for others"
        )
    if match["length"] is not None and (int(match["length"]) == 0 or match["repeat"] is not None):
        raise _refuse("length cannot be kept", text, expected="at least one byte, and no list")
    if table.has_bits and (data_type != "bool" or bit is not None):
        raise _refuse("coils and discrete inputs are single bits", text, expected="no type, or bool")
    if not table.has_bits and data_type == "bool" and bit is None:
        raise _refuse("a bit of a register needs its number", text, expected="e.g. holding:7.3")
    if bit is not None and (bit > 15 or data_type != "bool" or match["repeat"] is not None):
        raise _refuse("not a bit of a register", text, expected="0 to 15, without type or list")
    if match["repeat"] is not None and int(match["repeat"]) == 0:
        raise _refuse("an empty list", text, expected="at least one value")


def _width(data_type: str, length_bytes: int) -> int:
    if data_type in _FORMATS:
        return struct.calcsize(">" + _FORMATS[data_type]) // 2
    if data_type in ("string", "bytes"):
        return (length_bytes + 1) // 2
    return _BCD_REGISTERS.get(data_type, 1)


def _order(named: str | None, data_type: str, default: str, text: str) -> str:
    """A register is big-endian by the standard, so the connector's default never turns a 16-bit value or a string."""
    is_wide = _FORMATS.get(data_type, "") in tuple("iIfqQd") or data_type in ("bcd32", "bcd64")
    if named is None:
        return default if is_wide else "ABCD"
    if is_wide and named in ORDERS:
        return named
    if not is_wide and named in _SHORT_ORDERS and data_type != "bool":
        return _SHORT_ORDERS[named]
    raise _refuse("byte order does not fit the type", text, expected=", ".join(ORDERS) if is_wide else "AB or BA")


@dataclass(frozen=True, slots=True)
class Hole:
    """Addresses that no request may touch, first to last, both included."""

    table: Table
    first: int
    last: int


def parse_range(text: str) -> Hole:
    """``holding:100-120`` (or one address) as a range. Raises ConfigError."""
    match = _RANGE.match(text.strip())
    if match is None or match["table"] not in _TABLES:
        raise _refuse("not a Modbus range", text, expected="<table>:<first>-<last>, e.g. holding:100-120")
    first = int(match["first"])
    last = int(match["last"] or first)
    if not first <= last <= ADDRESS_MAX:
        raise _refuse("Modbus range does not fit", text, expected=f"first <= last <= {ADDRESS_MAX}")
    return Hole(_TABLES[match["table"]], first, last)


@dataclass(frozen=True, slots=True)
class Request:
    """One read request: `members` are indices into the caller's list of points, sorted by address."""

    unit_id: int
    table: Table
    start: int
    count: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """How far apart two points may lie to share a request, and how large one may be."""

    gap_max: int = 16
    registers_count_max: int = REGISTERS_COUNT_MAX
    bits_count_max: int = BITS_COUNT_MAX
    holes: tuple[Hole, ...] = ()


def plan_requests(points: Sequence[tuple[int, Point]], limits: PlanLimits) -> list[Request]:
    """The fewest requests that read all ``(unit_id, point)`` under `limits`; O(n log n)."""
    order = sorted(
        range(len(points)),
        key=lambda i: (points[i][0], points[i][1].table.value, points[i][1].address, points[i][1].end),
    )
    requests: list[Request] = []
    for index in order:
        unit_id, point = points[index]
        joined = _join(requests[-1], unit_id, point, index, limits) if requests else None
        if joined is None:
            requests.append(Request(unit_id, point.table, point.address, point.count, (index,)))
        else:
            requests[-1] = joined
    return requests


def _join(last: Request, unit_id: int, point: Point, index: int, limits: PlanLimits) -> Request | None:
    if (last.unit_id, last.table) != (unit_id, point.table):
        return None
    end_old = last.start + last.count
    end = max(end_old, point.end)
    cap = limits.bits_count_max if point.table.has_bits else limits.registers_count_max
    gap_max = limits.gap_max * 16 if point.table.has_bits else limits.gap_max
    if point.address - end_old > gap_max or end - last.start > cap:
        return None
    if any(h.table is point.table and h.first < point.address and h.last >= end_old for h in limits.holes):
        return None
    return replace(last, count=end - last.start, members=(*last.members, index))


def split_request(request: Request, points: Sequence[tuple[int, Point]]) -> tuple[Request, ...]:
    """Two halves for a refused request, cut at its widest gap, else in the middle; itself when it has one member.

    Overlapping points stay in one half where they must; a cut that would not shrink the request is not made.
    """
    if len(request.members) < 2:
        return (request,)
    members = [(index, points[index][1]) for index in request.members]
    middle = len(members) / 2

    def worth(at: int) -> tuple[int, float]:
        gap = members[at][1].address - max(point.end for _, point in members[:at])
        return (max(gap, 0), -abs(at - middle))

    cut = max(range(1, len(members)), key=worth)
    return tuple(_span(request, members[a:b]) for a, b in ((0, cut), (cut, len(members))))


def _span(request: Request, members: Sequence[tuple[int, Point]]) -> Request:
    start = members[0][1].address
    end = max(point.end for _, point in members)
    return replace(request, start=start, count=end - start, members=tuple(index for index, _ in members))


def decode_bits(point: Point, start: int, bits: Sequence[bool]) -> Value:
    """The value of a coil or discrete input point from the answer that begins at `start`."""
    at = point.address - start
    if point.repeat is None:
        return bool(bits[at])
    return [bool(bit) for bit in bits[at : at + point.count]]


def registers_to_bytes(registers: Sequence[int]) -> bytes:
    """The answer as it was on the wire."""
    return struct.pack(f">{len(registers)}H", *registers)


def decode_registers(point: Point, start: int, raw: bytes) -> Value:
    """The value of a register point from `raw`, the bytes of the answer that begins at register `start`.

    Raises DecodeError when the bytes are none of that type (a nibble above nine in BCD, text that is not UTF-8).
    """
    offset = (point.address - start) * 2
    part = raw[offset : offset + point.count * 2]
    if point.bit is not None:
        return bool(int.from_bytes(part, "big") >> point.bit & 1)
    if point.data_type in ("string", "bytes"):
        return _decode_text(point, part)
    width = 2 * _width(point.data_type, 0)
    values = [_decode_one(point, part[i : i + width]) for i in range(0, len(part), width)]
    return values[0] if point.repeat is None else values


def _reorder(part: bytes, order: str) -> bytes:
    """To big-endian, or from it: each order is its own inverse."""
    if order == "ABCD":
        return part
    if order == "DCBA":
        return part[::-1]
    swapped = bytearray(part)
    swapped[0::2], swapped[1::2] = part[1::2], part[0::2]
    return bytes(swapped) if order == "BADC" else bytes(swapped)[::-1]


def _decode_one(point: Point, part: bytes) -> Value:
    part = _reorder(part, point.order)
    letter = _FORMATS.get(point.data_type)
    if letter is not None:
        value: Value = struct.unpack(">" + letter, part)[0]
        return value
    if point.data_type in _BYTE_TYPES:
        at, is_signed = _BYTE_TYPES[point.data_type]
        return int.from_bytes(part[at : at + 1], "big", signed=is_signed)
    digits = part.hex()
    if not digits.isdecimal():
        raise DecodeError("not a binary coded decimal", expected="digits 0 to 9", got=digits)
    return int(digits)


def _decode_text(point: Point, part: bytes) -> Value:
    part = _reorder(part, point.order)[: point.length_bytes]
    if point.data_type == "bytes":
        return part
    part = part.split(b"\0", 1)[0].rstrip(b" ")
    try:
        return part.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError("text is not UTF-8", got=part.hex()) from error


def encode_registers(point: Point, value: Value) -> list[int]:
    """The registers that write `value`. Raises TypeError for a wrong type, OverflowError for a value out of range."""
    if point.repeat is not None:
        if not isinstance(value, list) or len(value) != point.repeat:
            raise TypeError(f"expected a list of {point.repeat} values")
        raw = b"".join(_encode_one(point, item) for item in value)
    elif point.data_type in ("string", "bytes"):
        raw = _encode_text(point, value)
    else:
        raw = _encode_one(point, value)
    return list(struct.unpack(f">{len(raw) // 2}H", raw))


def _encode_one(point: Point, value: Value) -> bytes:
    is_float = point.data_type.startswith("float")
    if isinstance(value, bool) or not isinstance(value, (int, float) if is_float else int):
        raise TypeError(f"expected a {'number' if is_float else 'whole number'} for {point.data_type}")
    if point.data_type in _BYTE_TYPES:
        raise TypeError("one byte of a register cannot be written alone")
    if point.data_type in _BCD_REGISTERS:
        digits_count = 4 * _BCD_REGISTERS[point.data_type]
        if not 0 <= value < 10**digits_count:
            raise OverflowError(f"expected 0 to {10**digits_count - 1}")
        return _reorder(bytes.fromhex(f"{value:0{digits_count}d}"), point.order)
    try:
        return _reorder(struct.pack(">" + _FORMATS[point.data_type], value), point.order)
    except (struct.error, OverflowError) as error:
        raise OverflowError(f"does not fit {point.data_type}") from error


def _encode_text(point: Point, value: Value) -> bytes:
    if point.data_type == "string" and isinstance(value, str):
        raw = value.encode("utf-8")
    elif point.data_type == "bytes" and isinstance(value, bytes):
        raw = value
    else:
        raise TypeError("expected text" if point.data_type == "string" else "expected bytes")
    if len(raw) > point.length_bytes:
        raise OverflowError(f"expected at most {point.length_bytes} bytes")
    return _reorder(raw.ljust(2 * point.count, b"\0"), point.order)


def answer_fault(received: bytes, request_header: bytes) -> str | None:
    """Why `received` (all bytes since the request was sent) is no Modbus TCP answer, or None while it may be one.

    `request_header` is the first eight bytes of the request. An answer to an earlier request (other transaction id) is
    no fault, it comes late (MODBUS Messaging on TCP/IP 1.0b, 3.1.3).
    """
    at = 0
    while at + 8 <= len(received):
        frame = received[at:]
        protocol_id, length = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
        if protocol_id != 0:
            return f"protocol id is {protocol_id}, expected 0"
        if not 3 <= length <= 254:
            return f"length is {length}, expected 3 to 254"
        fault = _pdu_fault(frame[: length + 6], length, request_header)
        if fault is not None:
            return fault
        at += length + 6
    return None


def _pdu_fault(frame: bytes, length: int, request_header: bytes) -> str | None:
    if frame[:2] != request_header[:2]:
        return None
    function, asked = frame[7], request_header[7]
    if function == asked | 0x80:
        return None
    if function != asked:
        return f"function is {function}, expected {asked}"
    if asked <= 4 and len(frame) > 8 and frame[8] != length - 3:
        return f"byte count is {frame[8]}, but {length - 3} bytes follow"
    expected = _WRITE_ANSWER_LENGTHS.get(asked)
    if expected is not None and length != expected:
        return f"length is {length}, expected {expected}"
    return None


def format_address(table: Table, address: int) -> str:
    """The shortest text of one coil or register."""
    return f"{table.name.lower()}:{address}"


def points_of(texts: Iterable[str], order: str = "ABCD") -> list[Point]:
    """All `texts` parsed. Raises ConfigError for the first wrong one."""
    return [parse_address(text, order) for text in texts]
