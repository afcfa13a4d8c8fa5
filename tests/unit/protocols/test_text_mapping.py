"""Fields of text frames and their values."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.kernel import ConfigError, DecodeError
from millstream.model import Value
from millstream.protocols.text_mapping import (
    ABSENT,
    ColumnReader,
    Field,
    JsonReader,
    PatternReader,
    Reader,
    parse_field,
    to_value,
)

SCALE = r"^(?P<state>ST|US),(?P<mode>GS|NT),(?P<weight>[+-] *[0-9.]+)(?P<unit>kg|g)?$"


def fields(reader: Reader, text: str, *names: str) -> list[Any]:
    """Of one frame that is one."""
    (found,) = reader.read([text])
    assert not isinstance(found, DecodeError), found
    return [found.field(name) for name in names]


def refusal(reader: Reader, text: str) -> str:
    """Why it is none."""
    (found,) = reader.read([text])
    assert isinstance(found, DecodeError)
    return found.what


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("weight:float", Field("weight", "float")),
        ("code", Field("code")),
        ("3:int", Field("3", "int")),
        ("result.0.weight", Field("result.0.weight")),
        ("$frame", Field("$frame")),
        (" $peer ", Field("$peer")),
    ],
)
def test_an_address_is_a_field_and_its_type(text: str, field: Field) -> None:
    assert parse_field(text) == field


@pytest.mark.parametrize("text", ["", ":int", "weight:double", "$other", "a b", "-a", "a:int:float"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_field(text)
    assert caught.value.code == "MS-1900"


def test_groups_of_the_first_pattern_that_matches_are_fields_and_what_matched_nothing_is_absent() -> None:
    reader = PatternReader([SCALE, r"^ERR (?P<error>\d+)"])
    assert fields(reader, "ST,GS,+ 12.5kg", "state", "weight", "unit") == ["ST", "+ 12.5", "kg"]
    assert fields(reader, "US,NT,-0.1", "state", "unit", "error") == ["US", ABSENT, ABSENT]
    assert fields(reader, "ERR 7", "weight", "error") == [ABSENT, "7"]
    assert refusal(reader, "hello") == "no pattern matches"


def test_many_frames_are_matched_at_once_each_with_its_own_result() -> None:
    reader = PatternReader([SCALE, r"^ERR (?P<error>\d+)"])
    found = reader.read(["x", "ERR 1", "ST,GS,+1kg", "y"])
    assert [isinstance(each, DecodeError) for each in found] == [True, False, False, True]
    assert reader.read([]) == []


@pytest.mark.parametrize("pattern", ["(", r"(\d+)", r"\d+", r"(?P<a>x)(?P<a>y)", r"(?P<a>x)\1", r"(?P<a>x)(?=y)"])
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PatternReader([pattern])
    assert caught.value.code == "MS-1900"


def test_no_text_makes_a_match_slow() -> None:
    """With Python's own expressions this one takes longer than the machine lasts."""
    reader = PatternReader([r"^(?P<a>(?:a+)+)$"])
    begun = time.process_time()
    assert refusal(reader, "a" * 60_000 + "!") == "no pattern matches"
    assert time.process_time() - begun < 5


def test_columns_are_counted_from_one_without_blanks_around_them() -> None:
    assert fields(ColumnReader(";"), "S1; 12,5 ;;kg", "1", "2", "3", "4", "5") == ["S1", "12,5", None, "kg", ABSENT]
    assert fields(ColumnReader(" "), "  12.5   kg ", "1", "2") == ["12.5", "kg"]
    assert fields(ColumnReader("\t"), "a\t\tb", "2", "3") == [None, "b"]
    assert refusal(ColumnReader(",", 3), "a,b") == "too few columns"


def test_members_of_a_json_object_are_found_by_their_path() -> None:
    text = '{"a": {"b": [10, {"c": "x"}]}, "a.b": 5, "n": null, "t": true}'
    assert fields(JsonReader(), text, "a.b.1.c", "a.b.0", "a.b", "n", "t", "a.c", "a.b.7", "n.x") == [
        "x", 10, 5, None, True, ABSENT, ABSENT, ABSENT,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '"x"', "{'a': 1}", '{"a": NaN}', "[" * 60_000, '{"a": ' + "9" * 5000 + "}"]
)
def test_what_is_no_json_object_is_refused(text: str) -> None:
    assert refusal(JsonReader(), text) in ("not JSON", "not a JSON object")


def test_a_field_that_no_frame_can_have_is_refused_before_the_start() -> None:
    PatternReader([SCALE, r"(?P<error>\d+)"]).check("error")
    with pytest.raises(ConfigError, match="no pattern has such a group"):
        PatternReader([SCALE]).check("wieght")
    ColumnReader(",").check("12")
    for name in ("0", "weight", "²"):
        with pytest.raises(ConfigError, match="columns have numbers"):
            ColumnReader(",").check(name)
    JsonReader().check("anything")


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        ("12.5", None, "12.5"),
        (" 12.5 ", "float", 12.5),
        ("+  0012.50", "float", 12.5),
        ("-.5", "float", -0.5),
        ("5.", "float", 5.0),
        ("1e3", "float", 1000.0),
        ("007", "int", 7),
        ("- 7", "int", -7),
        (str(2**64 - 1), "int", 2**64 - 1),
        ("ON", "bool", True),
        ("0", "bool", False),
        (5, None, 5),
        (5, "float", 5.0),
        (5.5, None, 5.5),
        (True, "bool", True),
        ("x", "text", "x"),
        ([1, "a", [True]], None, [1, "a", [True]]),
    ],
)
def test_a_field_becomes_a_value_of_its_type(raw: Any, kind: str | None, value: Value) -> None:
    found = to_value(raw, kind)
    assert found == value
    assert type(found) is type(value)


def test_a_decimal_comma_is_read_where_it_was_announced() -> None:
    assert to_value("12,5", "float", has_decimal_comma=True) == 12.5
    with pytest.raises(DecodeError):
        to_value("12,5", "float")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("", "float"), (".", "float"), ("+", "float"), ("e5", "float"), ("nan", "float"), ("1.2.3", "float"),
        ("12 kg", "float"), ("1" * 41, "float"), ("1.5", "int"), ("9" * 21, "int"), (str(2**64), "int"), ("٣", "int"),
        ("maybe", "bool"), (2**64, None), (2**64, "float"), (1.5, "int"), (True, "int"), (1, "bool"), (1, "text"),
        ({"a": 1}, None), ([{"a": 1}], None), ([1], "int"),
    ],
)  # fmt: skip
def test_a_field_that_is_not_of_its_type_is_no_value(raw: Any, kind: str | None) -> None:
    with pytest.raises(DecodeError):
        to_value(raw, kind)


READERS = [PatternReader([SCALE, r"(?P<n>\d+)"]), ColumnReader(","), ColumnReader(" ", 2), JsonReader()]


@settings(max_examples=1000)
@given(
    st.sampled_from(READERS),
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet='ST,USGNkg+- 0123456789.{}[]":nulltrue', max_size=60),
    ),
    st.sampled_from([None, "text", "int", "float", "bool"]),
)
def test_any_text_is_a_value_or_refused(reader: Reader, text: str, kind: str | None) -> None:
    """1,000 random frames."""
    (found,) = reader.read([text])
    if isinstance(found, DecodeError):
        assert len(str(found)) < 300
        return
    for name in ("weight", "n", "1", "2", "a.b"):
        raw = found.field(name)
        if raw is not ABSENT and raw is not None:
            with contextlib.suppress(DecodeError):
                to_value(raw, kind)
