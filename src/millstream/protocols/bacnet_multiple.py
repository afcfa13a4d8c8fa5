"""ReadPropertyMultiple, octet by octet: pure, no I/O (ASHRAE 135-2020, clauses 15.7, 20.2 and 21).

A general stack makes an object of each tag, which is most of what reading thousands of values costs. Here an answer is
walked once, and a value is left as its octets for whoever knows its type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from millstream.kernel import DecodeError
from millstream.model import Value
from millstream.protocols.bacnet_plan import Property

SERVICE = 14
CONTEXT, OPENING, CLOSING, EXTENDED = 0x08, 6, 7, 5
DEPTH_MAX = 16
_OBJECT, _PROPERTY, _INDEX, _VALUE, _ERROR = 0, 2, 3, 4, 5  # context tags of an answer
_BOOLEAN = 1  # the one application tag whose value stands in place of its length
_UNSIGNED, _REAL, _DOUBLE, _BITS, _ENUMERATED = 2, 4, 5, 8, 9


class Element(NamedTuple):
    """One property of an answer: the octets of its value, or the error code that stands in their place."""

    item: Property
    content: bytes
    error_code: int | None = None


def encode_request(items: Iterable[Property]) -> bytes:
    """The service request for `items`; those of one object beside each other become one entry."""
    parts: list[bytes] = []
    before: tuple[int, int] | None = None
    for item in items:
        here = (item.object_type, item.instance)
        if here != before:
            parts.append((b"" if before is None else b"\x1f") + b"\x0c" + _identifier(item) + b"\x1e")
            before = here
        parts.append(_context(0, item.property_id))
        if item.array_index is not None:
            parts.append(_context(1, item.array_index))
    return b"".join(parts) + (b"" if before is None else b"\x1f")


def _identifier(item: Property) -> bytes:
    return (item.object_type << 22 | item.instance).to_bytes(4, "big")


def _context(number: int, value: int) -> bytes:
    octets = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
    return bytes((number << 4 | CONTEXT | len(octets),)) + octets


def decode_answer(data: bytes) -> list[Element]:
    """Every property of the service answer, in its order. Raises DecodeError when it is none."""
    found: list[Element] = []
    at = 0
    try:
        while at < len(data):
            at, raw = _taken(data, at, _OBJECT)
            if len(raw) != 4 or data[at] != 0x1E:
                raise _broken("an object and its list", data, at)
            at = _results(data, at + 1, int.from_bytes(raw, "big"), found)
    except (IndexError, struct.error):
        raise _broken("more octets", data, len(data)) from None
    return found


def _results(data: bytes, at: int, identifier: int, found: list[Element]) -> int:
    """The list of one object; gives where the next begins."""
    while data[at] != 0x1F:
        at, raw = _taken(data, at, _PROPERTY)
        property_id, index = int.from_bytes(raw, "big"), None
        if data[at] >> 4 == _INDEX:
            at, raw = _taken(data, at, _INDEX)
            index = int.from_bytes(raw, "big")
        item = Property(identifier >> 22, identifier & 0x3FFFFF, property_id, index)
        opening = data[at]
        if opening not in (_VALUE << 4 | CONTEXT | OPENING, _ERROR << 4 | CONTEXT | OPENING):
            raise _broken("a value or an error", data, at)
        start, at = at + 1, _end(data, at)
        content = data[start : at - 1]
        found.append(Element(item, content) if opening >> 4 == _VALUE else Element(item, b"", _error_code(content)))
    return at + 1


def _taken(data: bytes, at: int, number: int) -> tuple[int, bytes]:
    """A primitive with a context tag; gives where it ends, and its octets."""
    first = data[at]
    length = first & 7
    if first >> 4 != number or not first & CONTEXT or not 0 < length < EXTENDED or at + 1 + length > len(data):
        raise _broken(f"context tag {number}", data, at)
    return at + 1 + length, data[at + 1 : at + 1 + length]


def _end(data: bytes, at: int) -> int:
    """Where the construction that opens at `at` ends."""
    depth = 0
    while True:
        first = data[at]
        kind = first & 7
        number, at = first >> 4, at + 1
        if number == 15:
            number, at = data[at], at + 1
        if first & CONTEXT and kind in (OPENING, CLOSING):
            depth += 1 if kind == OPENING else -1
            if depth == 0:
                return at
            if depth > DEPTH_MAX:
                raise _broken(f"at most {DEPTH_MAX} levels", data, at)
        elif number != _BOOLEAN or first & CONTEXT:
            at, length = _length(data, at, kind)
            at += length
        if at >= len(data):
            raise _broken("a closing tag", data, at)


def _length(data: bytes, at: int, kind: int) -> tuple[int, int]:
    """Where the octets begin, and how many there are (clause 20.2.1.3.1)."""
    if kind < EXTENDED:
        return at, kind
    if data[at] < 254:
        return at + 1, data[at]
    size = 2 if data[at] == 254 else 4
    return at + 1 + size, int.from_bytes(data[at + 1 : at + 1 + size], "big")


def _error_code(content: bytes) -> int:
    """Of an error's class and code, both enumerations."""
    try:
        at, length = _length(content, 1, content[0] & 7)
        at, length = _length(content, at + length + 1, content[at + length] & 7)
        return int.from_bytes(content[at : at + length], "big")
    except IndexError:
        raise _broken("an error class and code", content, 0) from None


def plain_value(item: Property, content: bytes) -> tuple[Value, int] | None:
    """The value of one number, enumeration or bit string, and its application tag; None for everything else."""
    if not content or content[0] & CONTEXT:
        return None
    number, length, octets = content[0] >> 4, content[0] & 7, content[1:]
    if length >= EXTENDED or len(octets) != length:
        return None
    if number == _REAL and length == 4:
        return float(struct.unpack(">f", octets)[0]), number
    if number in (_UNSIGNED, _ENUMERATED) and length:
        value = int.from_bytes(octets, "big")
        is_bool = number == _ENUMERATED and item.is_binary and value in (0, 1)
        return (bool(value) if is_bool else value), number
    if number == _BITS and length > 1 and octets[0] < 8:
        bits = int.from_bytes(octets[1:], "big") >> octets[0]
        count = 8 * (length - 1) - octets[0]
        return [bool(bits >> place & 1) for place in range(count - 1, -1, -1)], number
    return None


def _broken(expected: str, data: bytes, at: int) -> DecodeError:
    return DecodeError(
        "answer to ReadPropertyMultiple is malformed", expected=expected,
        got=f"{data[at : at + 8].hex() or 'the end'} at octet {at}", code="MS-1405",
    )  # fmt: skip
