"""S7 addresses: what they name, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.kernel import ConfigError
from millstream.protocols.s7_address import Area, Point, parse_address

DB = Area.DATA_BLOCK


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("DB1.DBX0.3", Point(DB, 1, 0, "BOOL", 3)),
        ("%db12.dbx7.0", Point(DB, 12, 7, "BOOL")),
        ("DB1.DBB3", Point(DB, 1, 3, "BYTE")),
        ("DB1.DBW2", Point(DB, 1, 2, "WORD")),
        ("DB1.DBD4", Point(DB, 1, 4, "DWORD")),
        ("DB1.DBD4:REAL", Point(DB, 1, 4, "REAL")),
        ("DB1.DBW2:S5TIME", Point(DB, 1, 2, "S5TIME")),
        ("DB1.DBB40:LREAL", Point(DB, 1, 40, "LREAL")),
        ("DB1.DBX40.0:DTL", Point(DB, 1, 40, "DTL")),
        ("DB1.DBB10:STRING[20]", Point(DB, 1, 10, "STRING", length=20)),
        ("DB1.DBB10:STRING[19][4]", Point(DB, 1, 10, "STRING", length=19, repeat=4)),
        ("DB1.DBB10:DT", Point(DB, 1, 10, "DATE_AND_TIME")),
        ("DB1.DBW60:INT[8]", Point(DB, 1, 60, "INT", repeat=8)),
        ("DB1.DBX76.2:BOOL[16]", Point(DB, 1, 76, "BOOL", 2, repeat=16)),
        ("M0.1", Point(Area.MERKERS, 0, 0, "BOOL", 1)),
        ("MX0.1", Point(Area.MERKERS, 0, 0, "BOOL", 1)),
        ("MW20:INT", Point(Area.MERKERS, 0, 20, "INT")),
        ("I4.7", Point(Area.INPUTS, 0, 4, "BOOL", 7)),
        ("E4.7", Point(Area.INPUTS, 0, 4, "BOOL", 7)),
        ("A2.0", Point(Area.OUTPUTS, 0, 2, "BOOL")),
        ("QD4:REAL", Point(Area.OUTPUTS, 0, 4, "REAL")),
    ],
)
def test_an_address_of_step_7_or_the_tia_portal_is_understood(text: str, point: Point) -> None:
    assert parse_address(text) == point


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("M0.7", 1),
        ("DB1.DBX0.7:BOOL[2]", 2),
        ("DB1.DBX0.0:BOOL[16]", 2),
        ("DB1.DBB0:STRING[19]", 21),
        ("DB1.DBB0:STRING[19][2]", 22 + 21),
        ("DB1.DBB0:WSTRING[19]", 42),
        ("DB1.DBB0:DTL", 12),
        ("DB1.DBW0:INT[8]", 16),
    ],
)
def test_the_bytes_to_be_read_are_counted_with_texts_at_even_addresses(text: str, size: int) -> None:
    assert parse_address(text).size_bytes == size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not an S7 address"),
        ("DB1.DBD", "not an S7 address"),
        ("DB1,REAL4", "not an S7 address"),
        ("holding:3", "not an S7 address"),
        ("T5", "not an S7 address"),
        ("M5", "a bit needs its number"),
        ("DB1.DBX3", "a bit needs its number"),
        ("DB1.DBX0.8", "a bit needs its number"),
        ("DB1.DBW2.1", "have no bit"),
        ("DB1.DBW2:REAL", "not as wide as its type"),
        ("DB1.DBD2:INT", "not as wide as its type"),
        ("DB1.DBD2:STRING[4]", "not as wide as its type"),
        ("DB1.DBB2:BOOL", "addressed by its bit"),
        ("DB1.DBX2.1:DTL", "begins at a whole byte"),
        ("DB1.DBD2:FLOAT", "unknown S7 data type"),
        ("DB1.DBB2:STRING", "needs its declared length"),
        ("DB1.DBB2:STRING[255]", "needs its declared length"),
        ("DB1.DBB2:STRING[0]", "a length of zero"),
        ("DB1.DBB2:INT[2][3]", "one dimension"),
        ("DB0.DBB0", "too large"),
        ("DB70000.DBB0", "too large"),
        ("DB1.DBD65533", "too large"),
        ("DB1.DBB0:LREAL[9999]", "too large"),
    ],
)
def test_an_address_that_cannot_be_right_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_address(text)
    assert caught.value.code == "MS-1200"


def test_an_unknown_type_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="did you mean DINT"):
        parse_address("DB1.DBD2:DNIT")


@settings(max_examples=2000)
@given(st.text(alphabet="DBXWIQMEA0123456789.:[]%STRINGREL _", max_size=24))
def test_any_text_is_a_point_within_bounds_or_refused(text: str) -> None:
    """2,000 texts of the letters that addresses are made of."""
    try:
        point = parse_address(text)
    except ConfigError:
        return
    assert 0 <= point.byte < point.end <= 65536
    assert 0 <= point.bit <= 7
