"""IO-Link process data: addresses of tags, and fields cut out of the octets that a device sends. Pure.

A field is named as in the device's description (IODD): its type, and its bit offset, which counts from the least
significant bit of the last octet (IODD 1.1, ProcessDataIn). ``int16@16`` in four octets is the first two of them.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal, TypeAlias

from millstream.kernel import DecodeError
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_OUT_OF_RANGE, GOOD, Quality, Value

OCTETS_MAX = 32  # of process data in one direction (IEC 61131-9, 7.2.1.6)
PARAMETER_OCTETS_MAX = 232  # of one parameter (IEC 61131-9, annex B.2)
INDEX_MAX, SUBINDEX_MAX = 0xFFFF, 0xFF

What: TypeAlias = Literal[
    "in", "out", "pin2", "pin4", "status", "vendor_id", "device_id", "product_name", "serial_number", "events", "isdu",
    "data",
]  # fmt: skip
Kind: TypeAlias = Literal["bool", "int", "uint", "float", "string", "bytes"]

_WORDS: tuple[What, ...] = (
    "pin2", "pin4", "status", "vendor_id", "device_id", "product_name", "serial_number", "events",
)  # fmt: skip
_DEVICE = re.compile(r"[A-Za-z0-9_]{1,32}\Z")
_PARAMETER = re.compile(r"(\d{1,5})(?:\.(\d{1,3}))?\Z", re.ASCII)
_FIELD = re.compile(r"(bool|int|uint|float|string|bytes)(\d{1,3})?@(\d{1,4})\Z")
# Substitute values of measurements (Smart Sensor Profile 1.1, B.8.2), by the width of the value.
_SUBSTITUTES = {
    16: {32764: BAD_DATA_UNAVAILABLE, 32760: BAD_OUT_OF_RANGE, -32760: BAD_OUT_OF_RANGE},
    32: {2147483644: BAD_DATA_UNAVAILABLE, 2147483640: BAD_OUT_OF_RANGE, -2147483640: BAD_OUT_OF_RANGE},
}


@dataclass(frozen=True, slots=True)
class Field:
    """Some bits of the process data. `bits` of a string or of bytes is eight an octet."""

    kind: Kind
    bits: int
    offset: int


@dataclass(frozen=True, slots=True)
class Point:
    """What a tag reads. `device` is a port (``port1``, ``master1port1``) or an alias; of ``data`` it is the path.

    A parameter (ISDU) has `index`, and `subindex` (0 is the whole); with `is_text` all of it is a text.
    """

    device: str
    what: What
    field: Field | None = None
    index: int = 0
    subindex: int = 0
    is_text: bool = False


def parse_point(text: str) -> Point:
    """From ``port1:in:int16@16``, ``port1:isdu:60.1``, ``port1:status`` or ``data:/path``. Raises DecodeError."""
    device, _, rest = text.partition(":")
    if device == "data":
        if not rest.startswith("/"):
            raise DecodeError("data point has no path", expected="data:/processdatamaster/temperature", got=ascii(text))
        return Point(rest, "data")
    if _DEVICE.match(device) is None:
        raise DecodeError("address names no port", expected="port1:in:int16@16", got=ascii(text))
    what, mark, field = rest.partition(":")
    if what in ("in", "out"):
        return Point(device, "in" if what == "in" else "out", parse_field(field) if mark else None)
    if what == "isdu":
        return _parameter(device, field, text)
    for word in _WORDS:
        if rest == word:
            return Point(device, word)
    raise DecodeError(
        "address does not say what to read",
        expected=f"in, out, isdu, {', '.join(_WORDS)} behind {device}:",
        got=ascii(text),
    )


def _parameter(device: str, rest: str, text: str) -> Point:
    number, mark, kind = rest.partition(":")
    match = _PARAMETER.match(number)
    index, subindex = (int(match[1]), int(match[2] or 0)) if match else (-1, 0)
    if not 0 <= index <= INDEX_MAX or subindex > SUBINDEX_MAX:
        raise DecodeError(
            "address names no parameter", expected="port1:isdu:24, port1:isdu:60.1:int16@0 or port1:isdu:18:text",
            got=ascii(text),
        )  # fmt: skip
    if kind == "text":
        return Point(device, "isdu", None, index, subindex, is_text=True)
    return Point(device, "isdu", parse_field(kind, PARAMETER_OCTETS_MAX) if mark else None, index, subindex)


def parse_field(text: str, octets_max: int = OCTETS_MAX) -> Field:
    """From ``int16@16``: type and width, and the bit offset of the device's description. Raises DecodeError."""
    match = _FIELD.match(text)
    if match is None:
        raise DecodeError(
            "field is malformed",
            expected="bool@0, int16@16, uint4@2, float32@0, string8@0 or bytes4@0",
            got=ascii(text),
        )
    kind, width, offset = match[1], int(match[2] or 1), int(match[3])
    bits = width * 8 if kind in ("string", "bytes") else width
    is_whole = kind in ("string", "bytes") and offset % 8 == 0 and width >= 1
    fits = {
        "bool": match[2] is None, "int": 2 <= width <= 64, "uint": 1 <= width <= 64, "float": match[2] == "32",
        "string": is_whole, "bytes": is_whole,
    }[kind]  # fmt: skip
    if not fits or offset + bits > octets_max * 8:
        raise DecodeError(
            "field has an impossible width or offset",
            expected=f"int2 to int64, uint1 to uint64, float32, within {OCTETS_MAX} octets; texts at whole octets",
            got=ascii(text),
        )
    return Field(kind, bits, offset)  # type: ignore[arg-type]


def decode_field(field: Field | None, octets: bytes) -> Value:
    """The field's value; all octets when `field` is None. Raises DecodeError when they are too few, or no text."""
    if field is None:
        return octets
    if len(octets) * 8 < field.offset + field.bits:
        raise DecodeError(
            "process data is too short for the field",
            expected=f"at least {(field.offset + field.bits + 7) // 8} octets",
            got=f"{len(octets)}",
        )
    raw = int.from_bytes(octets, "big") >> field.offset & (1 << field.bits) - 1
    if field.kind == "bool":
        return bool(raw)
    if field.kind == "uint":
        return raw
    if field.kind == "int":
        return raw - (1 << field.bits) if raw >> field.bits - 1 else raw
    part = raw.to_bytes(field.bits // 8, "big")
    if field.kind == "float":
        return float(struct.unpack(">f", part)[0])
    if field.kind == "bytes":
        return part
    try:
        return part.partition(b"\0")[0].decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(f"text is not UTF-8 (octet {error.start})") from None


def encode_field(field: Field | None, value: Value, octets: bytes) -> bytes:
    """`octets` with the field set to `value`. Raises TypeError, OverflowError when it does not fit."""
    if field is None:
        if not isinstance(value, bytes) or len(value) != len(octets):
            raise TypeError(f"expected {len(octets)} bytes")
        return value
    if field.offset + field.bits > len(octets) * 8:
        raise OverflowError(f"the device takes {len(octets)} octets only")
    raw = _raw(field, value)
    mask = (1 << field.bits) - 1 << field.offset
    whole = int.from_bytes(octets, "big") & ~mask | raw << field.offset
    return whole.to_bytes(len(octets), "big")


def encode_point(point: Point, value: Value, octets: bytes) -> bytes:
    """What is written for a point whose octets are now `octets`; a text goes out as long as it is. Raises TypeError,
    OverflowError when the value does not fit."""
    if not point.is_text:
        return encode_field(point.field, value, octets)
    if not isinstance(value, str):
        raise TypeError("expected a text")
    text = value.encode("utf-8", "surrogatepass")
    if len(text) > PARAMETER_OCTETS_MAX:
        raise OverflowError(f"expected at most {PARAMETER_OCTETS_MAX} octets")
    return text


def _raw(field: Field, value: Value) -> int:
    if field.kind == "bool":
        if not isinstance(value, bool):
            raise TypeError("expected true or false")
        return int(value)
    if field.kind in ("int", "uint"):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError("expected an integer")
        low = -(1 << field.bits - 1) if field.kind == "int" else 0
        if not low <= value < low + (1 << field.bits):
            raise OverflowError(f"expected {low} to {low + (1 << field.bits) - 1}")
        return value & (1 << field.bits) - 1
    if field.kind == "float":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError("expected a number")
        return int.from_bytes(struct.pack(">f", value), "big")
    part = value.encode() if isinstance(value, str) and field.kind == "string" else value
    if not isinstance(part, bytes):
        raise TypeError("expected a text" if field.kind == "string" else "expected bytes")
    if len(part) * 8 > field.bits:
        raise OverflowError(f"expected at most {field.bits // 8} octets")
    return int.from_bytes(part.ljust(field.bits // 8, b"\0"), "big")


def substitute_quality(field: Field | None, value: Value) -> Quality:
    """What a measurement says instead of a number: no data, or out of range; GOOD for a number."""
    if field is None or field.kind != "int" or not isinstance(value, int):
        return GOOD
    return _SUBSTITUTES.get(field.bits, {}).get(value, GOOD)
