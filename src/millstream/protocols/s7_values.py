"""S7 data types as values and back: pure, no I/O.

Numbers are big-endian. Durations are whole numbers: TIME and S5TIME of milliseconds, LTIME of nanoseconds. Dates and
times of day are ISO 8601 text without a zone, since a PLC does not say which one its clock follows: DATE
``2026-01-31``, TOD and LTOD ``06:30:00.500``, DATE_AND_TIME, DTL and LDT ``2026-01-31T06:30:00.500``.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from millstream.kernel import DecodeError
from millstream.model import Value
from millstream.protocols.s7_address import SIZES_BYTES, Point

_FORMATS = {
    "BYTE": "B", "USINT": "B", "SINT": "b", "WORD": "H", "UINT": "H", "INT": "h", "DWORD": "I", "UDINT": "I",
    "DINT": "i", "LWORD": "Q", "ULINT": "Q", "LINT": "q", "REAL": "f", "LREAL": "d", "TIME": "i", "LTIME": "q",
}  # fmt: skip
_FLOATS = ("REAL", "LREAL")
_FIRST_DATE = date(1990, 1, 1)  # day 0 of DATE
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (the PLC names no zone)
_DAY_NS = 86_400_000_000_000
_S5_BASES_MS = (10, 100, 1000, 10_000)
_TIME_OF_DAY = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Patch:
    """What a write puts into the block: `data` from byte `start` on, or, when `bit` is set, one bit of that byte."""

    start: int
    data: bytes
    bit: int | None = None


def decode_point(point: Point, raw: bytes, encoding: str = "latin-1") -> Value:
    """The value of `point` from its own bytes. Raises DecodeError when they are none of that type."""
    if point.data_type == "BOOL":
        if point.repeat is None:
            return bool(raw[0] >> point.bit & 1)
        return [bool(raw[i // 8] >> i % 8 & 1) for i in range(point.bit, point.bit + point.repeat)]
    if point.repeat is None:
        return _decode_one(point, raw, encoding)
    letter = _FORMATS.get(point.data_type)
    if letter is not None:
        return list(struct.unpack(f">{point.repeat}{letter}", raw))
    if point.data_type == "CHAR":
        return _text(raw, encoding)  # an array of characters is a text
    step = point.stride_bytes
    return [_decode_one(point, raw[i * step : (i + 1) * step], encoding) for i in range(point.repeat)]


def _decode_one(point: Point, raw: bytes, encoding: str) -> Value:
    kind = point.data_type
    letter = _FORMATS.get(kind)
    if letter is not None:
        value: Value = struct.unpack(">" + letter, raw)[0]
        return value
    match kind:
        case "STRING":
            return _text(_string_bytes(raw[0], raw[1], raw[2:], point.length), encoding)
        case "WSTRING":
            size_max, size = struct.unpack_from(">HH", raw)
            return _text(_string_bytes(size_max, size, raw[4:], point.length, 2), "utf-16-be")
        case "CHAR":
            return _text(raw, encoding)
        case "WCHAR":
            return _text(raw, "utf-16-be")
        case "DATE":
            return (_FIRST_DATE + timedelta(days=int.from_bytes(raw, "big"))).isoformat()
        case "TOD" | "LTOD":
            return _time_of_day(int.from_bytes(raw, "big") * (1_000_000 if kind == "TOD" else 1))
        case "S5TIME":
            return _s5time(raw)
        case "LDT":
            return _with_ns(_EPOCH, int.from_bytes(raw, "big", signed=True))
        case "DTL":
            year, month, day, _, hour, minute, second, ns = struct.unpack(">H6BI", raw)
            return _moment((year, month, day, hour, minute, second), ns, raw)
    return _date_and_time(raw)


def _text(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DecodeError(f"text is not {encoding}", got=raw[:40].hex()) from error


def _string_bytes(size_max: int, size: int, raw: bytes, declared: int, width: int = 1) -> bytes:
    """The used part of a text. A length beyond what is declared means that no such text lies there."""
    if size > declared or size > size_max:
        raise DecodeError(
            "no text lies there, or it was declared longer", expected=f"{declared} at most", got=f"{size} of {size_max}"
        )
    return raw[: size * width]


def _time_of_day(ns: int) -> str:
    if ns >= _DAY_NS:
        raise DecodeError("time of day is beyond the day", got=f"{ns} ns")
    return _with_ns(_EPOCH, ns)[11:]


def _with_ns(start: datetime, ns: int) -> str:
    """`start` plus `ns`, with as many digits of the second as are needed: none, three, six or nine."""
    seconds, rest = divmod(ns, 1_000_000_000)
    try:
        text = (start + timedelta(seconds=seconds)).isoformat()
    except OverflowError as error:
        raise DecodeError("time is out of range", got=f"{ns} ns") from error
    if rest == 0:
        return text
    digits = f"{rest:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{text}.{digits}"


def _moment(parts: tuple[int, int, int, int, int, int], ns: int, raw: bytes) -> str:
    try:
        start = datetime(*parts)  # noqa: DTZ001  (the PLC names no zone)
    except ValueError as error:
        raise DecodeError("no date and time", got=raw.hex()) from error
    if ns >= 1_000_000_000:
        raise DecodeError("no date and time", got=raw.hex())
    return _with_ns(start, ns)


def _digits(raw: bytes) -> str:
    digits = raw.hex()
    if not digits.isdecimal():
        raise DecodeError("not a binary coded decimal", expected="digits 0 to 9", got=digits)
    return digits


def _date_and_time(raw: bytes) -> str:
    """Binary coded: year, month, day, hour, minute, second, milliseconds (three digits), day of the week."""
    digits = _digits(raw[:7] + bytes((raw[7] & 0xF0,)))
    year, month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(0, 12, 2))
    ms = int(digits[12:15])
    return _moment((year + (1900 if year >= 90 else 2000), month, day, hour, minute, second), ms * 1_000_000, raw)


def _s5time(raw: bytes) -> int:
    """Three digits and, in bits 12 and 13, the base they count in."""
    return int(_digits(bytes((raw[0] & 0x0F, raw[1])))) * _S5_BASES_MS[raw[0] >> 4 & 3]


def encode_point(point: Point, value: Value, encoding: str = "latin-1") -> Patch:
    """What writes `value`. Raises TypeError for a wrong type, OverflowError for a value out of range."""
    if point.data_type == "BOOL":
        if point.repeat is not None:
            raise TypeError("expected a single bit: a list of bits cannot be written in one step")
        if not isinstance(value, bool):
            raise TypeError("expected true or false")
        return Patch(point.byte, bytes((value,)), point.bit)
    if point.data_type == "CHAR" and point.repeat is not None:
        raw = _encode_text(value, encoding, point.repeat).ljust(point.repeat)
        return Patch(point.byte, raw)
    if point.repeat is not None:
        if point.data_type in ("STRING", "WSTRING"):
            raise TypeError("expected a single text: a list of texts is written one by one")
        if not isinstance(value, list) or len(value) != point.repeat:
            raise TypeError(f"expected a list of {point.repeat} values")
        return Patch(point.byte, b"".join(_encode_one(point.data_type, item, encoding) for item in value))
    # The first field of a text is its declared length, which is the program's; the rest is written.
    if point.data_type == "STRING":
        raw = _encode_text(value, encoding, point.length)
        return Patch(point.byte + 1, bytes((len(raw),)) + raw)
    if point.data_type == "WSTRING":
        raw = _encode_text(value, "utf-16-be", 2 * point.length)
        return Patch(point.byte + 2, struct.pack(">H", len(raw) // 2) + raw)
    return Patch(point.byte, _encode_one(point.data_type, value, encoding))


def _encode_text(value: Value, encoding: str, size_max: int) -> bytes:
    if not isinstance(value, str):
        raise TypeError("expected text")
    try:
        raw = value.encode(encoding)
    except UnicodeEncodeError as error:
        raise OverflowError(f"expected characters of {encoding}") from error
    if len(raw) > size_max:
        raise OverflowError(f"expected at most {size_max} bytes of text")
    return raw


def _encode_one(kind: str, value: Value, encoding: str) -> bytes:
    letter = _FORMATS.get(kind)
    if letter is not None:
        is_float = kind in _FLOATS
        if isinstance(value, bool) or not isinstance(value, (int, float) if is_float else int):
            raise TypeError(f"expected a {'number' if is_float else 'whole number'} for {kind}")
        try:
            return struct.pack(">" + letter, value)
        except (struct.error, OverflowError) as error:
            raise OverflowError(f"does not fit {kind}") from error
    if kind == "S5TIME":
        return _encode_s5time(value)
    if kind in ("CHAR", "WCHAR"):
        raw = _encode_text(value, "utf-16-be" if kind == "WCHAR" else encoding, SIZES_BYTES[kind])
        if len(raw) != SIZES_BYTES[kind]:
            raise TypeError("expected one character")
        return raw
    if not isinstance(value, str):
        raise TypeError(f"expected text of ISO 8601 for {kind}")
    return _encode_time(kind, value)


def _encode_s5time(value: Value) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("expected a whole number of milliseconds for S5TIME")
    for code, base in enumerate(_S5_BASES_MS):
        if 0 <= value <= 999 * base and value % base == 0:
            return bytes.fromhex(f"{code}{value // base:03d}")
    raise OverflowError("expected 0 to 9990000 ms in three digits of 10 ms, 100 ms, 1 s or 10 s")


def _encode_time(kind: str, text: str) -> bytes:
    if kind in ("TOD", "LTOD"):
        ns = _ns_of_day(text)
        return struct.pack(">I", ns // 1_000_000) if kind == "TOD" else struct.pack(">Q", ns)
    try:
        if kind == "DATE":
            days = (date.fromisoformat(text) - _FIRST_DATE).days
            return struct.pack(">H", days)
        day = date.fromisoformat(text[:10])
    except ValueError as error:
        raise TypeError(f"expected text of ISO 8601 for {kind}, e.g. 2026-01-31") from error
    except struct.error as error:
        raise OverflowError("expected 1990-01-01 to 2169-06-06") from error
    if text[10:11] not in ("T", " "):
        raise TypeError(f"expected text of ISO 8601 for {kind}, e.g. 2026-01-31T06:30:00")
    return _encode_moment(kind, day, _ns_of_day(text[11:]))


def _ns_of_day(text: str) -> int:
    match = _TIME_OF_DAY.match(text)
    hour, minute, second = (int(part) for part in match.groups()[:3]) if match else (24, 0, 0)
    if match is None or hour > 23 or minute > 59 or second > 59:
        raise TypeError("expected a time of day without a zone, e.g. 06:30:00.500")
    return (hour * 3600 + minute * 60 + second) * 1_000_000_000 + int((match[4] or "").ljust(9, "0"))


def _encode_moment(kind: str, day: date, ns: int) -> bytes:
    seconds, rest_ns = divmod(ns, 1_000_000_000)
    hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    weekday = day.isoweekday() % 7 + 1  # Sunday is 1
    if kind == "DTL":
        if not 1970 <= day.year <= 2262:
            raise OverflowError("expected a year from 1970 to 2262")
        return struct.pack(">H6BI", day.year, day.month, day.day, weekday, hour, minute, second, rest_ns)
    if kind == "LDT":
        total = (day - _EPOCH.date()).days * _DAY_NS + ns
        if not -(2**63) <= total < 2**63:
            raise OverflowError("expected a year from 1678 to 2261")
        return struct.pack(">q", total)
    if not 1990 <= day.year <= 2089:
        raise OverflowError("expected a year from 1990 to 2089")
    digits = f"{day.year % 100:02d}{day.month:02d}{day.day:02d}{hour:02d}{minute:02d}{second:02d}"
    return bytes.fromhex(f"{digits}{rest_ns // 1_000_000:03d}{weekday}")
