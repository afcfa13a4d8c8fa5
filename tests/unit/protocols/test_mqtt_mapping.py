"""Topics, addresses and payloads of MQTT."""

from __future__ import annotations

import contextlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import DecodeError
from millstream.protocols.mqtt_mapping import (
    ABSENT,
    Address,
    Payload,
    check_filter,
    check_topic,
    covers,
    fewest,
    leaves,
    literal_prefix,
    matches,
    member_path,
    parse_address,
    parse_path,
    plain_value,
    subject_of_topic,
    to_block,
    to_time_ns,
    to_value,
    topic_of_subject,
)

LEVELS = st.text(st.sampled_from("ab.é$"), max_size=3)
TOPICS = st.lists(LEVELS, min_size=1, max_size=5).map("/".join).filter(bool)


@pytest.mark.parametrize(
    ("pattern", "topic", "is_match"),
    [
        ("sport/tennis/#", "sport/tennis", True),
        ("sport/tennis/#", "sport/tennis/player1/ranking", True),
        ("sport/+", "sport/tennis", True),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
        ("a/b", "a/b/c", False),
        ("a//b", "a/b", False),
    ],
)
def test_a_filter_takes_what_the_standard_says(pattern: str, topic: str, is_match: bool) -> None:
    assert matches(pattern, topic) is is_match


@pytest.mark.parametrize("pattern", ["a/#/b", "a#", "a/b+", "", "a\0b"])
def test_a_malformed_filter_is_refused(pattern: str) -> None:
    with pytest.raises(DecodeError):
        check_filter(pattern)


@pytest.mark.parametrize("topic", ["a/+", "a/#", "", "a\0", "x" * 65_536, "\ud800"])
def test_a_malformed_topic_is_refused(topic: str) -> None:
    with pytest.raises(DecodeError):
        check_topic(topic)


def test_covered_filters_are_left_out_so_that_nothing_comes_twice() -> None:
    assert fewest(["a/b", "a/+", "a/#", "b/c", "b/c"]) == ["a/#", "b/c"]
    assert not covers("a/+", "a/#")
    assert not covers("#", "$SYS/x")
    assert literal_prefix("plant/line1/+/#") == ("plant", "line1")


@given(TOPICS)
def test_a_topic_survives_the_servers_subjects(topic: str) -> None:
    assert topic_of_subject("$MQTT.msgs." + subject_of_topic(topic)) == topic


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        ("dev/1.5/t", "dev.1//5.t"),
        ("spBv1.0/G/NDATA/E", "spBv1//0.G.NDATA.E"),
        ("/a", "/.a"),
        ("a/", "a./"),
        ("a//b", "a./.b"),
    ],
)
def test_subjects_are_those_of_nats_server(topic: str, subject: str) -> None:
    assert subject_of_topic(topic) == subject


def test_a_blank_in_a_topic_is_refused_since_the_server_closes_the_connection() -> None:
    with pytest.raises(DecodeError, match="blank"):
        subject_of_topic("a b/c")


def test_an_address_is_a_topic_and_perhaps_a_path() -> None:
    assert parse_address("scale/count#$.n") == Address("scale/count", ("n",))
    assert parse_address("scale/count") == Address("scale/count")
    assert parse_path("$.a[2]['b c'].d[\"e\"]") == ("a", 2, "b c", "d", "e")
    for wrong in ("scale/#", "a#b", "a#$..b", "a#$.b[", "a#$b"):
        with pytest.raises(DecodeError):
            parse_address(wrong)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"21.5", 21.5),
        (b" 42\n", 42),
        (b"+3", 3),
        (b"1e3", 1000.0),
        (b"TRUE", True),
        (b"false", False),
        (b"1_000", "1_000"),
        (b"1,5", "1,5"),
        (b"running", "running"),
        (b'"text"', "text"),
        (b"[1, 2.5]", [1, 2.5]),
        (b"null", None),
        (b"18446744073709551615", 2**64 - 1),
        ("é".encode(), "é"),
    ],
)
def test_a_payload_is_json_or_plain_text(raw: bytes, value: object) -> None:
    found = to_value(Payload(raw).whole())
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"n": 1', "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"", "empty"),
        (b"  ", "empty"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested too deeply"),
        (b"99999999999999999999999", "64 bits"),
        (b"[1, null]", "null"),
    ],
)
def test_a_malformed_payload_is_refused_with_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        to_value(Payload(raw).whole())


@given(st.binary(max_size=200))
def test_no_payload_raises_anything_else(raw: bytes) -> None:
    for steps in (None, (), ("a",), (0,)):
        try:
            found = Payload(raw).at(steps)
            if found is not ABSENT:
                to_value(found)
        except DecodeError:
            pass


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(JSON_VALUES, st.sampled_from(["auto", "float", "int", "bool", "text"]))
def test_no_json_value_raises_anything_else(document: object, data_type: str) -> None:
    found = Payload(json.dumps(document).encode()).at(())
    with contextlib.suppress(DecodeError):
        to_value(found, data_type)  # type: ignore[arg-type]


def test_a_path_that_is_not_there_is_absent_not_an_error() -> None:
    payload = Payload(b'{"a": [1, {"b": 2}]}')
    assert payload.at(("a", 1, "b")) == 2
    for steps in (("x",), ("a", 5), ("a", "b"), ("a", 0, "b"), ("x", "y", 0)):
        assert payload.at(steps) is ABSENT


def test_a_value_takes_the_type_that_is_asked_for() -> None:
    assert to_value(3, "float") == 3.0
    assert isinstance(to_value(3, "float"), float)
    assert to_value("3.5", "float") == 3.5
    assert to_value(4.0, "int") == 4
    assert to_value(1, "bool") is True
    assert to_value(3, "text") == "3"
    assert math.isnan(to_value("nan", "float"))  # type: ignore[arg-type]
    for found, data_type in (("x", "float"), (4.5, "int"), (2, "bool"), (True, "float"), (10**400, "float")):
        with pytest.raises(DecodeError):
            to_value(found, data_type)  # type: ignore[arg-type]


def test_a_series_becomes_a_block() -> None:
    block = to_block("k", {"t0_ns": 10, "dt_ns": 5, "values": [1, 2, 3]})
    assert block.source_time_ns.tolist() == [10, 15, 20]
    assert isinstance(block.values, np.ndarray)
    assert block.values.dtype == np.int64
    assert to_block("k", {"t0_ns": 0, "dt_ns": 1, "values": [1, 2.5]}).values.dtype == np.float64  # type: ignore[union-attr]
    assert to_block("k", {"t0_ns": 0, "dt_ns": 1, "values": [True]}).values.dtype == np.bool_  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "found",
    [
        {"t0_ns": 1.5, "dt_ns": 1, "values": [1]},
        {"t0_ns": 0, "dt_ns": -1, "values": [1]},
        {"t0_ns": 0, "dt_ns": 1, "values": []},
        {"t0_ns": 0, "dt_ns": 1, "values": ["x"]},
        {"t0_ns": 0, "dt_ns": 1, "values": [True, 1]},
        {"t0_ns": 0, "dt_ns": 1, "values": [2**80]},
        {"t0_ns": 2**63 - 1, "dt_ns": 2**62, "values": [1, 2]},
        {"t0_ns": 0, "dt_ns": 2**70, "values": [1]},
    ],
)
def test_a_malformed_series_is_refused(found: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        to_block("k", found)


def test_a_time_keeps_its_nanoseconds() -> None:
    assert to_time_ns(1_700_000_000_123_456_789, "ns") == 1_700_000_000_123_456_789
    assert to_time_ns(1_700_000_000_123, "ms") == 1_700_000_000_123_000_000
    assert abs(to_time_ns(1_700_000_000.25, "s") - 1_700_000_000_250_000_000) < 1
    assert to_time_ns("17", "s") == 17_000_000_000
    for wrong in (math.nan, math.inf, True, "later", None, 10**30, 10**18):
        with pytest.raises(DecodeError):
            to_time_ns(wrong, "s")


def test_the_leaves_of_an_object_carry_their_names() -> None:
    document = {"a": {"b": 1, "c": [1, 2]}, "d": {"t0_ns": 0, "dt_ns": 1, "values": [1]}, "e": {}}
    found = dict(leaves(document))
    assert found == {("a", "b"): 1, ("a", "c"): [1, 2], ("d",): document["d"]}


def test_plain_text_that_only_looks_like_a_number_stays_text() -> None:
    for text in ("0x10", "1.2.3", "--1", "1 2", "٣x"):
        assert plain_value(text) == text


@pytest.mark.parametrize("members", [("a",), ("a", "b c"), ("it's", "x"), ('say "x"',), ("a.b", "[0]"), ("ä",), (" ",)])
def test_a_members_path_leads_back_to_it(members: tuple[str, ...]) -> None:
    path = member_path(members)
    assert path is not None
    assert parse_path(path) == members


def test_a_member_with_both_kinds_of_quotes_has_no_path() -> None:
    assert member_path(('it\'s "so"',)) is None
