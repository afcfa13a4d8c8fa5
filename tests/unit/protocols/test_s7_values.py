"""S7 values against bytes that the setters of python-snap7 make, and bytes written out by hand."""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snap7 import util

from millstream.kernel import DecodeError
from millstream.model import Value
from millstream.protocols.s7_address import parse_address
from millstream.protocols.s7_values import decode_point, encode_point

MOMENT = datetime(2026, 1, 31, 6, 30, 0, 500_000)  # noqa: DTZ001  (a PLC names no zone)
FOREIGN: list[tuple[str, Callable[..., Any], Any, Value]] = [
    ("DBB0:SINT", util.set_sint, -128, -128),
    ("DBB0:USINT", util.set_usint, 255, 255),
    ("DBW0:INT", util.set_int, -12345, -12345),
    ("DBW0:UINT", util.set_uint, 65535, 65535),
    ("DBW0", util.set_word, 0xCAFE, 0xCAFE),
    ("DBD0:DINT", util.set_dint, -(2**31), -(2**31)),
    ("DBD0:UDINT", util.set_udint, 2**32 - 1, 2**32 - 1),
    ("DBD0:REAL", util.set_real, 1.25, 1.25),
    ("DBB0:LREAL", util.set_lreal, math.pi, math.pi),
    ("DBB0:LINT", util.set_lint, -(2**63), -(2**63)),
    ("DBB0:ULINT", util.set_ulint, 2**64 - 1, 2**64 - 1),
    ("DBB0:CHAR", util.set_char, "x", "x"),
    ("DBW0:WCHAR", util.set_wchar, "€", "€"),
    ("DBW0:DATE", util.set_date, date(2026, 1, 31), "2026-01-31"),
    ("DBD0:TIME", util.set_time, "1:0:0:0.250", 86_400_250),
    ("DBD0:TOD", util.set_tod, timedelta(hours=6, minutes=30, milliseconds=500), "06:30:00.500"),
    ("DBB0:LTIME", util.set_ltime, timedelta(seconds=-1), -1_000_000_000),
    ("DBB0:LTOD", util.set_ltod, timedelta(hours=6, minutes=30), "06:30:00"),
    ("DBB0:LDT", util.set_ldt, MOMENT, "2026-01-31T06:30:00.500"),
    ("DBB0:DT", util.set_dt, MOMENT, "2026-01-31T06:30:00.500"),
    ("DBB0:DTL", util.set_dtl, MOMENT, "2026-01-31T06:30:00.500"),
    ("DBB0:STRING[10]", lambda raw, at, text: util.set_string(raw, at, text, 10), "Müller", "Müller"),
    ("DBB0:WSTRING[10]", lambda raw, at, text: util.set_wstring(raw, at, text, 10), "Мир €", "Мир €"),
]


@pytest.mark.parametrize(("text", "put", "given_value", "value"), FOREIGN, ids=[entry[0] for entry in FOREIGN])
def test_bytes_made_by_another_implementation_are_read_and_written_alike(
    text: str, put: Callable[..., Any], given_value: Any, value: Value
) -> None:
    point = parse_address(f"DB1.{text}")
    raw = bytearray(64)
    put(raw, 0, given_value)
    decoded = decode_point(point, bytes(raw[: point.size_bytes]))
    assert decoded == value
    assert type(decoded) is type(value)
    patch = encode_point(point, value)
    ours = bytearray(raw[: patch.start]) + patch.data
    assert ours == raw[: len(ours)]


@pytest.mark.parametrize(
    ("raw", "ms"), [("0127", 1270), ("1127", 12_700), ("2127", 127_000), ("3127", 1_270_000), ("3999", 9_990_000)]
)
def test_the_time_of_the_s7_300_has_three_digits_and_a_base(raw: str, ms: int) -> None:
    point = parse_address("DB1.DBW0:S5TIME")
    assert decode_point(point, bytes.fromhex(raw)) == ms
    assert decode_point(point, encode_point(point, ms).data) == ms


def test_bits_are_counted_from_the_least_significant_and_go_on_in_the_next_byte() -> None:
    assert decode_point(parse_address("M0.7"), b"\x80") is True
    assert decode_point(parse_address("DB1.DBX0.7:BOOL[3]"), b"\x80\x02") == [True, False, True]
    patch = encode_point(parse_address("DB1.DBX4.7"), True)
    assert (patch.start, patch.bit, patch.data) == (4, 7, b"\1")


def test_lists_are_read_value_by_value_and_characters_as_a_text() -> None:
    assert decode_point(parse_address("DB1.DBW0:INT[2]"), b"\xff\xff\0\1") == [-1, 1]
    assert decode_point(parse_address("DB1.DBB0:STRING[1][2]"), b"\1\1a\0\1\1b") == ["a", "b"]
    assert decode_point(parse_address("DB1.DBB0:CHAR[3]"), b"abc") == "abc"
    assert encode_point(parse_address("DB1.DBW0:INT[2]"), [-1, 1]).data == b"\xff\xff\0\1"


def test_text_is_written_without_its_declared_length() -> None:
    patch = encode_point(parse_address("DB1.DBB10:STRING[20]"), "ab")
    assert (patch.start, patch.data) == (11, b"\2ab")
    patch = encode_point(parse_address("DB1.DBB10:WSTRING[20]"), "a")
    assert (patch.start, patch.data) == (12, b"\0\1\0a")


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("DBB0:STRING[4]", "0a09" + "41" * 4),  # declared longer in the PLC, and that long
        ("DBB0:STRING[4]", "0203" + "41" * 4),
        ("DBB0:WSTRING[2]", "0002ffff00410041"),
        ("DBB0:WSTRING[2]", "00020001d8000041"),  # half of a pair
        ("DBB0:DTL", "00" * 12),  # never set
        ("DBB0:DTL", "07ea0d1f0706001e00000000"),  # month 13
        ("DBB0:DT", "26133106300000a0"),
        ("DBB0:DT", "2601310630000f00"),
        ("DBW0:S5TIME", "0a00"),
        ("DBD0:TOD", "ffffffff"),
        ("DBB0:LTOD", "ff" * 8),
    ],
)
def test_bytes_that_are_none_of_the_type_are_a_bad_value_and_no_wrong_one(text: str, raw: str) -> None:
    with pytest.raises(DecodeError):
        decode_point(parse_address(f"DB1.{text}"), bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("text", "value", "error"),
    [
        ("DBX0.0", 1, TypeError),
        ("DBX0.0:BOOL[2]", [True, False], TypeError),
        ("DBW0:INT", 40000, OverflowError),
        ("DBW0:INT", 1.5, TypeError),
        ("DBW0:INT", True, TypeError),
        ("DBW0", -1, OverflowError),
        ("DBD0:REAL", "1", TypeError),
        ("DBD0:REAL", 1e300, OverflowError),
        ("DBW0:INT[2]", [1], TypeError),
        ("DBW0:INT[2]", [1, 2**20], OverflowError),
        ("DBB0:STRING[2]", "abc", OverflowError),
        ("DBB0:STRING[2]", "€", OverflowError),
        ("DBB0:STRING[2]", 5, TypeError),
        ("DBB0:STRING[2][2]", ["a", "b"], TypeError),
        ("DBB0:CHAR", "ab", OverflowError),
        ("DBB0:CHAR", "", TypeError),
        ("DBW0:DATE", "31.1.2026", TypeError),
        ("DBW0:DATE", "1989-12-31", OverflowError),
        ("DBB0:DTL", "2026-01-31", TypeError),
        ("DBB0:DTL", "2026-01-31T25:00:00", TypeError),
        ("DBB0:DTL", "2026-01-31T06:30:00+01:00", TypeError),
        ("DBB0:DTL", "1969-01-31T06:30:00", OverflowError),
        ("DBB0:LDT", "9999-01-31T06:30:00", OverflowError),
        ("DBB0:DT", "2090-01-31T06:30:00", OverflowError),
        ("DBW0:S5TIME", 1, OverflowError),
        ("DBW0:S5TIME", 10_000_000, OverflowError),
        ("DBW0:S5TIME", "1s", TypeError),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_before_it_goes_out(
    text: str, value: Value, error: type[Exception]
) -> None:
    with pytest.raises(error):
        encode_point(parse_address(f"DB1.{text}"), value)


@pytest.mark.parametrize(
    ("kind", "size"), [("DBB0:DTL", 12), ("DBB0:DT", 8), ("DBB0:LDT", 8), ("DBD0:TOD", 4), ("DBW0:DATE", 2)]
)
@settings(max_examples=1000)
@given(data=st.data())
def test_what_is_read_as_a_time_is_written_as_the_same_time(kind: str, size: int, data: st.DataObject) -> None:
    """1,000 random bytes each; those that are no time are refused as such."""
    point = parse_address(f"DB1.{kind}")
    raw = data.draw(st.binary(min_size=size, max_size=size))
    try:
        value = decode_point(point, raw)
    except DecodeError:
        return
    try:
        again = encode_point(point, value).data
    except OverflowError:  # what a PLC may hold, but no program may write
        return
    assert decode_point(point, again) == value


@settings(max_examples=2000)
@given(
    st.sampled_from(["STRING[5]", "WSTRING[3]", "CHAR[4]", "DTL", "DT", "LDT", "TOD", "S5TIME", "REAL", "BOOL"]),
    st.binary(min_size=16, max_size=16),
)
def test_any_bytes_are_a_value_or_refused(kind: str, raw: bytes) -> None:
    """2,000 random memories."""
    point = parse_address(f"DB1.DBX0.0:{kind}" if kind == "BOOL" else f"DB1.DBB0:{kind}")
    with contextlib.suppress(DecodeError):
        value = decode_point(point, raw[: point.size_bytes], "utf-8")
        assert isinstance(value, (bool, int, float, str))


def test_the_nanoseconds_of_a_dtl_are_kept() -> None:
    raw = struct.pack(">H6BI", 2026, 1, 31, 7, 6, 30, 0, 1)
    assert decode_point(parse_address("DB1.DBB0:DTL"), raw) == "2026-01-31T06:30:00.000000001"
