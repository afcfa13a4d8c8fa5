"""Patterns, times, node files and events: what people write is understood or refused with an example."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.client import CloudEvent, Pattern, find_node, to_span_ns, to_time_ns
from millstream.client._paths import disjoint
from millstream.kernel import ConfigError, DecodeError, NotFoundError, PlantError
from millstream.model import AssetPath, TagPath
from millstream.protocols.cloudevents import decode_event, encode_event, format_time, parse_time_ns
from millstream.protocols.uns_subject import UnsAddress, encode_subject

NAME = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
TAG_PATH = st.builds(
    lambda levels, names: TagPath(AssetPath(tuple(levels)), tuple(names)),
    st.lists(NAME, min_size=1, max_size=4),
    st.lists(NAME, min_size=1, max_size=3),
)


def address(text: str) -> UnsAddress:
    path = TagPath.parse(text)
    return UnsAddress(path.asset, "_tag", path.names)


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("acme/p1/press:temp", ["acme/p1/press:temp"], ["acme/p1/press:temp/x", "acme/p1:temp"]),
        ("acme/p1", ["acme/p1:a", "acme/p1/x/y:g/a"], ["acme:a", "acme/p10:a"]),
        ("acme/*:a", ["acme/p1:a"], ["acme:a", "acme/p1/x:a", "acme/p1:b"]),
        ("acme/**:*/a", ["acme:g/a", "acme/p/q:g/a"], ["acme:a", "acme:g/h/a"]),
        ("acme/press*:t*p", ["acme/press1:temp", "acme/press:tp"], ["acme/xpress:temp"]),
        ("**:a", ["acme:a", "acme/x:a"], ["acme:g/a"]),
        ("", ["acme:a"], []),
        (":a", ["acme/p:a"], ["acme:b"]),
        ("acme/a%2Fb:c%2Ad", ["acme/a%2Fb:c*d"], ["acme/a/b:c*d"]),
    ],
)
def test_a_pattern_fits_by_levels(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    parsed = Pattern.parse(pattern)
    assert [text for text in fits if not parsed.matches(address(text))] == []
    assert [text for text in fits_not if parsed.matches(address(text))] == []


@pytest.mark.parametrize("text", ["a//b", "a:b:c", "/a", "a:", "a/b\n:c", "a\t:b"])
def test_what_is_no_pattern_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(DecodeError, match=r"acme/plant1/press:temperature.*MS-0580"):
        Pattern.parse(text)


@given(TAG_PATH)
def test_every_path_is_a_pattern_of_itself(path: TagPath) -> None:
    text = str(path).replace("*", "%2A")
    pattern = Pattern.parse(text)
    assert pattern.is_exact
    assert pattern.tag == path
    subject = encode_subject(UnsAddress(path.asset, "_tag", path.names))
    assert pattern.subject_filter("_tag") == subject


@pytest.mark.parametrize(
    ("text", "subject_filter"),
    [
        ("acme/p1:a", "uns.v1.acme.p1._tag.a"),
        ("acme/*:a", "uns.v1.acme.*._tag.a"),
        ("acme/p*:a", "uns.v1.acme.*._tag.a"),
        ("acme/p1:**", "uns.v1.acme.p1._tag.>"),
        ("acme/p1", "uns.v1.acme.p1.>"),
        ("acme/Halle 1:a", "uns.v1.acme.Halle=201._tag.a"),
    ],
)
def test_the_server_filters_as_much_as_it_can(text: str, subject_filter: str) -> None:
    assert Pattern.parse(text).subject_filter("_tag") == subject_filter


def test_overlapping_filters_become_one() -> None:
    assert disjoint(["uns.v1.a._tag.x", "uns.v1.b._tag.x"]) == ["uns.v1.a._tag.x", "uns.v1.b._tag.x"]
    assert disjoint(["uns.v1.a.>", "uns.v1.a._tag.x"]) == ["uns.v1.a.>"]
    assert disjoint(["uns.v1.*._tag.x", "uns.v1.b.*.x"]) == ["uns.v1.>"]
    assert disjoint(["uns.v1.a", "uns.v1.a"]) == ["uns.v1.a"]


NOW = 1_790_000_000_000_000_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("now", NOW),
        ("-1.5h", NOW - 5_400_000_000_000),
        ("2026-01-02", 1_767_312_000_000_000_000),
        ("2026-01-02T00:00:00.000000001Z", 1_767_312_000_000_000_001),
        ("2026-01-02T01:00:00+01:00", 1_767_312_000_000_000_000),
        ("2026-01-02 00:00", 1_767_312_000_000_000_000),
        ("1767312000000000005", 1_767_312_000_000_000_005),
        (datetime(2026, 1, 2), 1_767_312_000_000_000_000),  # noqa: DTZ001 (without a zone means UTC here)
        (datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=1))), 1_767_312_000_000_000_000),
        (7, 7),
    ],
)
def test_a_time_is_understood(value: object, expected: int) -> None:
    assert to_time_ns(value, NOW) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["yesterday", "-5", "2026-13-01", ""])
def test_what_is_no_time_shows_the_forms(value: str) -> None:
    with pytest.raises(PlantError, match="MS-0582"):
        to_time_ns(value, NOW)


def test_a_span_is_above_zero() -> None:
    assert to_span_ns("10s") == to_span_ns(timedelta(seconds=10)) == to_span_ns(10) == 10_000_000_000
    for wrong in ("10", "0s", -1.0):
        with pytest.raises(PlantError, match="MS-0582"):
            to_span_ns(wrong)


def test_the_file_is_found_by_argument_then_variable_then_nearby(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="--node or MILLSTREAM_NODE"):
        find_node(environ={})
    for place in ("one", "two", "data"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "node.json").write_text(json.dumps({"nats_url": f"nats://{place}:1", "password": "geheim"}))
    assert find_node("one", environ={"MILLSTREAM_NODE": "two"}).nats_url == "nats://one:1"
    assert find_node(environ={"MILLSTREAM_NODE": "two/node.json"}).nats_url == "nats://two:1"
    assert find_node(environ={}).nats_url == "nats://data:1"
    assert find_node(environ={"MILLSTREAM_URL": "host:99"}).nats_url == "nats://host:99"
    assert "geheim" not in repr(find_node("one", environ={}))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nats_url": 5}', "\xff"])
def test_a_damaged_node_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="MS-0681"):
        find_node(tmp_path)


def test_credentials_in_an_address_are_taken_out_of_it() -> None:
    address = find_node(url="nats://u:p@[::1]:4333")
    assert (address.nats_url, address.user, address.password) == ("nats://[::1]:4333", "u", "p")


# CloudEvents 1.0.2 NATS binding, section 3.1.3.1: the percent-encoding example of the HTTP binding it refers to.
def test_event_headers_are_encoded_as_the_binding_says() -> None:
    headers, payload = encode_event(CloudEvent("1", "/a b", "t", {"x": 1}, subject="Euro € 😀", time_ns=NOW))
    assert headers["ce-subject"] == "Euro%20%E2%82%AC%20%F0%9F%98%80"
    assert headers["ce-source"] == "/a%20b"
    assert headers["ce-specversion"] == "1.0"
    assert payload == b'{"x":1}'


@given(NAME, NAME, NAME, st.integers(0, 4_000_000_000_000_000_000), st.dictionaries(NAME, st.integers(-(2**53), 2**53)))
def test_an_event_comes_back(id_: str, source: str, type_: str, time_ns: int, data: dict[str, int]) -> None:
    event = CloudEvent(id_, source, type_, data, time_ns, extensions={"sequence": "%5"})
    headers, payload = encode_event(event)
    assert decode_event({name.upper(): text for name, text in headers.items()}, payload) == event


@given(st.integers(-(2**62), 2**62))
def test_times_keep_every_nanosecond(time_ns: int) -> None:
    assert parse_time_ns(format_time(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("headers", "payload"),
    [
        ({}, b""),
        ({"ce-specversion": "0.3", "ce-id": "1", "ce-source": "s", "ce-type": "t"}, b""),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t"}, b"{"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t", "ce-time": "noon"}, b""),
    ],
)
def test_a_malformed_event_gives_the_reason(headers: dict[str, str], payload: bytes) -> None:
    with pytest.raises(DecodeError, match="MS-0381"):
        decode_event(headers, payload)


def test_an_event_that_cannot_be_one_is_refused() -> None:
    for event in (
        CloudEvent("", "s", "t"),
        CloudEvent("1", "s", "t", extensions={"Not-Allowed": "x"}),
        CloudEvent("1", "s", "t", {1: object()}),
        CloudEvent("1", "s", "t", "text", content_type="text/plain"),
    ):
        with pytest.raises(DecodeError, match="MS-0381"):
            encode_event(event)
