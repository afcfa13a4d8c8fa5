"""Cells and times of tables."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import DecodeError
from millstream.protocols.row_mapping import Column, Instant, RowMap, TimeRule, cell_value, find_zone

BERLIN = find_zone("Europe/Berlin")
NOON = 1_782_900_000_000_000_000  # 2026-07-01T12:00 in Berlin


@pytest.mark.parametrize(
    ("form", "cell", "expected"),
    [
        ("iso", "2026-07-01T10:00:00Z", NOON),
        ("iso", "2026-07-01 12:00:00.000000001", NOON + 1),
        ("iso", "2026-07-01T12:00:00+02:00", NOON),
        ("%d.%m.%Y %H:%M", "01.07.2026 12:00", NOON),
        ("%Y-%m-%dT%H:%M:%S%z", "2026-07-01T10:00:00+0000", NOON),
        ("s", "1782900000", NOON),
        ("s", "1782900000.000000001", NOON + 1),
        ("s", 1782900000, NOON),
        ("ms", 1782900000000.5, NOON + 500_000),
        ("us", Decimal(1782900000000001), NOON + 1000),
        ("ns", NOON, NOON),
        ("iso", dt.datetime(2026, 7, 1, 12), NOON),  # noqa: DTZ001 - local, as some databases give it
        ("iso", dt.datetime(2026, 7, 1, 10, tzinfo=dt.UTC), NOON),
        ("iso", dt.date(2026, 7, 1), NOON - 12 * 3600 * 10**9),
        ("iso", Instant(NOON + 7), NOON + 7),
        ("iso", Instant(NOON + 2 * 3600 * 10**9 + 7, is_local=True), NOON + 7),
    ],
)
def test_a_time_is_read_as_it_is_written(form: str, cell: object, expected: int) -> None:
    assert TimeRule(("t",), form, BERLIN).read({"t": cell}) == expected


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        ("iso", "noon"), ("iso", 5), ("iso", ""), ("iso", None), ("s", "1e99"), ("s", float("nan")), ("s", "1_0"),
        ("%H:%M", "25:00"), ("ns", True), ("iso", "9999-01-01T00:00:00Z"), ("ns", 2**63),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(form: str, cell: object) -> None:
    with pytest.raises(DecodeError):
        TimeRule(("t",), form, BERLIN).read({"t": cell})


def test_a_row_without_its_time_column_is_refused() -> None:
    with pytest.raises(DecodeError):
        TimeRule(("t",)).read({"v": 1})


def test_a_date_and_a_time_of_day_are_joined() -> None:
    rule = TimeRule(("d", "t"), "%d.%m.%Y %H:%M", BERLIN)
    assert rule.read({"d": "01.07.2026 ", "t": "12:00"}) == NOON
    assert rule.read({"d": dt.date(2026, 7, 1), "t": dt.time(12)}) == NOON


def test_the_hour_that_comes_twice_is_its_first() -> None:
    twice = TimeRule(("t",), "iso", BERLIN).read({"t": "2026-10-25T02:30:00"})
    assert twice == TimeRule(("t",)).read({"t": "2026-10-25T00:30:00Z"})


@pytest.mark.parametrize(
    ("cell", "data_type", "expected"),
    [
        ("1", "auto", 1.0),
        (" 1.5 ", "auto", 1.5),
        ("true", "auto", "true"),
        ("", "text", ""),
        (" x ", "auto", " x "),
        ("9" * 400, "auto", float("inf")),
        ("7", "int", 7),
        ("7.0", "int", 7),
        ("TRUE", "bool", True),
        ("1,5", "float", 1.5),
        (1, "auto", 1),
        (1, "float", 1.0),
        (Decimal("1.5"), "auto", 1.5),
        (UUID(int=1), "auto", "00000000-0000-0000-0000-000000000001"),
        (memoryview(b"ab"), "auto", b"ab"),
        (dt.timedelta(seconds=2), "auto", 2.0),
        (dt.time(1, 2), "auto", "01:02:00"),
    ],
)
def test_a_cell_becomes_a_value(cell: object, data_type: str, expected: object) -> None:
    value = cell_value(cell, data_type, ",")  # type: ignore[arg-type]
    assert (value, type(value)) == (expected, type(expected))


@given(st.text(max_size=50) | st.integers() | st.floats() | st.none() | st.binary() | st.dates() | st.decimals())
def test_no_cell_does_more_than_be_refused(cell: object) -> None:
    for data_type in ("auto", "int", "float", "bool", "text", "bytes"):
        row_map = RowMap((Column("k", "c", data_type),), TimeRule(("c",), "s"))  # type: ignore[arg-type]
        try:
            samples = row_map.samples({"c": cell})
        except DecodeError:
            continue
        assert len(samples) <= 1
