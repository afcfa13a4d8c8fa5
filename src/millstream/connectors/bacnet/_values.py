"""Encoded values of BACnet (ASHRAE 135-2020, clause 20.2) as ours, and back. Their tags say what they are, so the
properties of vendors are read too."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from bacpypes3.pdu import PDUData
from bacpypes3.primitivedata import (
    BitString,
    Boolean,
    CharacterString,
    Date,
    Double,
    Enumerated,
    Integer,
    Null,
    ObjectIdentifier,
    OctetString,
    Real,
    TagClass,
    TagList,
    Time,
    Unsigned,
)

from millstream.kernel import DecodeError
from millstream.model import Value
from millstream.protocols.bacnet_plan import Property

NULL, BOOLEAN, UNSIGNED, INTEGER, REAL, DOUBLE, OCTETS, TEXT, BITS, ENUMERATED, DATE, TIME, OBJECT = range(13)
REAL_MAX = 3.4028234663852886e38
UNSIGNED_MAX, INTEGER_MIN, INTEGER_MAX = 2**32 - 1, -(2**31), 2**31 - 1
_TYPES = (
    Null, Boolean, Unsigned, Integer, Real, Double, OctetString, CharacterString, BitString, Enumerated, Date, Time,
    ObjectIdentifier,
)  # fmt: skip
NAMES = (
    "null", "boolean", "unsigned", "integer", "real", "double", "octets", "text", "bits", "enumeration", "date", "time",
    "object",
)  # fmt: skip


def decode(item: Property, content: Any) -> tuple[Value | None, int]:
    """The value of `item`, and the number of its application tag; several make a list. None for a null.

    Raises DecodeError for a structure, and for what is no value at all.
    """
    tags = list(getattr(content, "tagList", None) or ())
    if len(tags) >= 2 and tags[0].tag_class == TagClass.opening and tags[-1].tag_class == TagClass.closing:
        tags = tags[1:-1]
    values = [_decode_one(item, tag) for tag in tags]
    if not values:
        raise _refuse("no value")
    kind = int(tags[0].tag_number)
    if len(values) == 1 and not _is_list(item):
        return values[0], kind
    return [value for value in values if value is not None], kind


def tagged(octets: bytes) -> Any:
    """Octets as `decode` takes them. Raises DecodeError when they are no tags."""
    try:
        # Enclosed as in the answer: one structure is not to be taken for its members.
        return _Tagged(list(TagList.decode(PDUData(b"\x4e" + octets + b"\x4f")).tagList))
    except Exception as error:  # the decoders of the library raise what happens to come
        raise _refuse(f"no tags: {octets[:16].hex()}") from error


class _Tagged(NamedTuple):
    tagList: list[Any]


def _is_list(item: Property) -> bool:
    """A property whose value is a list even when it has one element only."""
    return item.array_index is None and item.property_id in (76, 110, 211)  # object list, state text, subordinate list


def _decode_one(item: Property, tag: Any) -> Value | None:
    if tag.tag_class != TagClass.application or int(tag.tag_number) >= len(_TYPES):
        raise _refuse(f"a structure (tag {tag.tag_number})")
    kind = int(tag.tag_number)
    try:
        raw = _TYPES[kind].decode(TagList([tag]))
        return _plain(kind, raw, item)
    except Exception as error:  # the decoders of the library raise what happens to come
        raise _refuse(f"{NAMES[kind]} {bytes(tag.tag_data).hex()!r}") from error


def _plain(kind: int, raw: Any, item: Property) -> Value | None:
    if kind == NULL:
        return None
    if kind == ENUMERATED:
        return bool(int(raw)) if item.is_binary and int(raw) in (0, 1) else int(raw)
    if kind == OBJECT:
        return Property(int(raw[0]), int(raw[1])).object_address
    makers: dict[int, Callable[[Any], Value]] = {
        BOOLEAN: lambda v: bool(int(v)), UNSIGNED: int, INTEGER: int, REAL: float, DOUBLE: float, OCTETS: bytes,
        TEXT: str, BITS: lambda v: [bool(bit) for bit in v], DATE: date_text, TIME: time_text,
    }  # fmt: skip
    return makers[kind](raw)


def date_text(raw: tuple[int, ...]) -> str:
    """``2026-11-21``; what is unspecified is written as stars, odd months and the like as they are."""
    year, month, day = raw[0], raw[1], raw[2]
    parts = ("****" if year == 255 else f"{1900 + year:04d}", *("**" if n == 255 else f"{n:02d}" for n in (month, day)))
    return "-".join(parts)


def time_text(raw: tuple[int, ...]) -> str:
    """``08:30:00.00``; what is unspecified is written as stars."""
    hour, minute, second, hundredth = ("**" if n == 255 else f"{n:02d}" for n in raw[:4])
    return f"{hour}:{minute}:{second}.{hundredth}"


def _refuse(got: str) -> DecodeError:
    return DecodeError("value cannot be read", expected="a primitive value or a list of them", got=got, code="MS-1405")


def encode(kind: int, value: Value | None) -> Any:
    """`value` as it may be written where a value with application tag `kind` stands; None relinquishes.

    Raises TypeError for a wrong kind and OverflowError for one that does not fit, in words for a person.
    """
    if value is None:
        return Null(())
    if kind in (UNSIGNED, INTEGER):
        return _TYPES[kind](_whole(value, *((0, UNSIGNED_MAX) if kind == UNSIGNED else (INTEGER_MIN, INTEGER_MAX))))
    if kind in (REAL, DOUBLE):
        return _TYPES[kind](_number(kind, value))
    if kind == ENUMERATED:
        return Enumerated(int(value) if isinstance(value, bool) else _whole(value, 0, UNSIGNED_MAX))
    if kind == BOOLEAN and isinstance(value, bool):
        return Boolean(value)
    if kind == TEXT and isinstance(value, str):
        return CharacterString(value)
    if kind == OCTETS and isinstance(value, bytes):
        return OctetString(value)
    if kind == BITS and isinstance(value, list) and all(isinstance(bit, bool) for bit in value):
        return BitString([int(bit is True) for bit in value])
    if kind in (DATE, TIME) and isinstance(value, str):
        return _moment(kind, value)
    raise TypeError(f"expected {NAMES[kind] if kind < len(NAMES) else 'a primitive value'}")


def _whole(value: Value, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("expected an integer")
    if not low <= value <= high:
        raise OverflowError(f"expected {low} to {high}")
    return value


def _number(kind: int, value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("expected a number")
    if kind == REAL and math.isfinite(value) and abs(value) > REAL_MAX:
        raise OverflowError(f"expected at most {REAL_MAX:g}")
    return float(value)


def _moment(kind: int, text: str) -> Any:
    try:
        if kind == DATE:
            day = datetime.date.fromisoformat(text)
            return Date((day.year - 1900, day.month, day.day, day.isoweekday()))
        moment = datetime.time.fromisoformat(text)
    except ValueError as error:
        raise TypeError("expected a date like 2026-11-21, or a time like 08:30:00") from error
    return Time((moment.hour, moment.minute, moment.second, moment.microsecond // 10_000))
