"""The SHDR parser: every form of a line, whole recordings, and bad input."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.model import BAD_DATA_UNAVAILABLE, BAD_TYPE_MISMATCH, GOOD
from millstream.protocols import shdr
from millstream.protocols.shdr import (
    Asset,
    BadLine,
    Command,
    Kind,
    Observation,
    ShdrParser,
    decode_event,
    decode_value,
    parse_data_set,
    parse_time_ns,
    split_fields,
)

ROOT = Path(__file__).resolve().parents[3]
MAZAK = ROOT / "src" / "millstream" / "sim" / "data" / "mazak01.txt.gz"
OKUMA = ROOT / "tests" / "data" / "okuma.txt.gz"
T = "2026-01-01T00:00:00Z"
T_NS = 1_767_225_600_000_000_000


def parse(text: str | bytes, **kinds: Kind) -> list[shdr.Event]:
    """All events of a whole text."""
    parser = ShdrParser(kinds)
    data = text.encode() if isinstance(text, str) else text
    return parser.feed(data, now_ns=5_000_000_000) + parser.finish()


def observed(text: str, **kinds: Kind) -> list[tuple[str, object]]:
    """Key and value of each observation."""
    return [decode_event(event)[:2] for event in parse(text, **kinds) if isinstance(event, Observation)]


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        (T, T_NS),
        ("2026-01-01T00:00:00", T_NS),
        ("2026-01-01T01:30:00+01:30", T_NS),
        ("2026-01-01T00:00:00.7Z", T_NS + 700_000_000),
        ("2026-01-01T00:00:00.7167146Z", T_NS + 716_714_600),
        ("2026-01-01T00:00:00.1234567891Z", T_NS + 123_456_789),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
    ],
)
def test_times_are_exact_to_the_nanosecond(text: str, expected_ns: int) -> None:
    assert parse_time_ns(text) == expected_ns


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00.Z", "٢٠٢٦-01-01T00:00:00Z"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_time_ns(text)


def test_many_pairs_in_one_line_share_its_time() -> None:
    events = parse(f"{T}|a|1|b|text|c|UNAVAILABLE\n")
    assert [(e.key, e.fields, e.time_ns) for e in events if isinstance(e, Observation)] == [
        ("a", ("1",), T_NS),
        ("b", ("text",), T_NS),
        ("c", ("UNAVAILABLE",), T_NS),
    ]
    assert [decode_event(e)[1:] for e in events if isinstance(e, Observation)] == [
        (1.0, GOOD),
        ("text", GOOD),
        (None, BAD_DATA_UNAVAILABLE),
    ]


def test_a_line_without_a_time_has_none_and_a_duration_is_kept() -> None:
    (first, second) = parse(f"|a|1\n{T}@2.5|b|2\n")
    assert isinstance(first, Observation)
    assert isinstance(second, Observation)
    assert first.time_ns is None
    assert (second.time_ns, second.duration_s) == (T_NS, 2.5)


def test_relative_times_are_milliseconds_since_the_first_line() -> None:
    events = parse("100|a|1\n350.5|a|2\n")
    assert [e.time_ns for e in events if isinstance(e, Observation)] == [5_000_000_000, 5_250_500_000]


def test_the_device_in_front_of_a_key_is_dropped() -> None:
    assert observed(f"{T}|mazak:Xabs|1\n") == [("Xabs", 1.0)]


def test_a_condition_is_told_by_its_shape_or_by_the_model() -> None:
    warning = {
        "level": "WARNING",
        "native_code": "8100004F",
        "native_severity": "",
        "qualifier": "",
        "text": "79 PRELUB",
    }
    assert observed(f"{T}|logic|Warning|8100004F|||79 PRELUB\n") == [("logic", warning)]
    assert observed(f"{T}|n|7|logic|Warning|8100004F|||79 PRELUB\n") == [("n", 7.0), ("logic", warning)]
    assert observed(f"{T}|logic|Unavailable||||\n") == [("logic", None)]
    filled = f"{T}|n|1|logic|FAULT|c|2|HIGH|text\n"
    assert observed(filled, logic=Kind.CONDITION)[1][1] == {
        "level": "FAULT", "native_code": "c", "native_severity": "2", "qualifier": "HIGH", "text": "text",
    }  # fmt: skip


def test_pairs_that_look_like_a_level_stay_pairs() -> None:
    line = f"{T}|n|1|state|NORMAL|a|1|b|2\n"
    assert observed(line) == [("n", 1.0), ("state", "NORMAL"), ("a", 1.0), ("b", 2.0)]


def test_messages_series_sets_and_tables_read_by_the_model() -> None:
    line = f"{T}|m|C7|door open|ts|3|100|1 2 3|ds|a=1 b='two words' c=|tb|r1={{x=1 y=2}} r2={{x=3}}|p|1 2 3\n"
    kinds = {
        "m": Kind.MESSAGE, "ts": Kind.TIME_SERIES, "ds": Kind.DATA_SET, "tb": Kind.TABLE, "p": Kind.THREE_SPACE,
    }  # fmt: skip
    assert observed(line, **kinds) == [
        ("m", {"native_code": "C7", "text": "door open"}),
        ("ts", [1.0, 2.0, 3.0]),
        ("ds", {"a": 1.0, "b": "two words", "c": ""}),
        ("tb", {"r1": {"x": 1.0, "y": 2.0}, "r2": {"x": 3.0}}),
        ("p", [1.0, 2.0, 3.0]),
    ]


def test_a_reset_trigger_and_removed_keys_are_no_entries() -> None:
    assert parse_data_set(":MANUAL a=1 gone b={x y}") == {"a": 1.0, "b": "x y"}


def test_a_quoted_field_may_hold_a_bar() -> None:
    assert split_fields(r'a|"x\|y \"z\""|b|"open|c') == ["a", 'x|y "z"', "b", '"open', "c"]
    assert split_fields('a|"x"') == ["a", "x"]


def test_a_backslash_outside_quotes_is_a_backslash() -> None:
    assert observed(f"{T}|program|TNC:\\BRIAN\\WARMUP.H\n") == [("program", "TNC:\\BRIAN\\WARMUP.H")]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Kind.SAMPLE, "1e400", (math.inf, GOOD)),
        (Kind.SAMPLE, "12,5", (None, BAD_TYPE_MISMATCH)),
        (Kind.INTEGER, "7.5", (None, BAD_TYPE_MISMATCH)),
        (Kind.INTEGER, "-7", (-7, GOOD)),
        (Kind.EVENT, "12", ("12", GOOD)),
        (Kind.EVENT, "unavailable", (None, BAD_DATA_UNAVAILABLE)),
        (Kind.THREE_SPACE, "1 b 3", (None, BAD_TYPE_MISMATCH)),
        (Kind.CONDITION, "BROKEN", (None, BAD_TYPE_MISMATCH)),
    ],
)
def test_a_value_that_does_not_fit_its_kind_is_a_type_mismatch(kind: Kind, text: str, expected: object) -> None:
    assert decode_value(kind, (text,)) == expected


def test_an_asset_spans_lines_up_to_its_mark() -> None:
    lines = [f"{T}|@ASSET@|1.20|CuttingTool|--multiline--ABCD", "<Tool>", " a|b", "</Tool>", "--multiline--ABCD"]
    text = "\n".join([*lines, f"{T}|@REMOVE_ASSET@|1.20", f"{T}|a|1", ""])
    asset, removed, last = parse(text)
    assert asset == Asset("@ASSET@", ("1.20", "CuttingTool", "<Tool>\n a|b\n</Tool>"), T_NS)
    assert removed == Asset("@REMOVE_ASSET@", ("1.20",), T_NS)
    assert isinstance(last, Observation)
    assert decode_event(asset)[:2] == ("@ASSET@", {"fields": ["1.20", "CuttingTool", "<Tool>\n a|b\n</Tool>"]})


def test_an_asset_that_never_ends_is_kept_as_bad_with_its_text() -> None:
    (bad,) = parse(f"{T}|@ASSET@|1|X|--multiline--A\n<Tool>\n")
    assert isinstance(bad, BadLine)
    assert bad.raw.endswith(b"--multiline--A\n<Tool>")


def test_an_asset_without_bounds_is_cut_and_the_stream_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shdr, "ASSET_BYTES_MAX", 100)
    bad, last = parse(f"{T}|@ASSET@|1|X|--multiline--A\n" + "x" * 150 + f"\n{T}|a|1\n")
    assert isinstance(bad, BadLine)
    assert "multi-line" in bad.reason
    assert isinstance(last, Observation)


def test_pong_and_adapter_commands_are_commands() -> None:
    events = parse("* PONG 10000\n*adapterVersion: 3\n* PONG x\n")
    assert [(e.text, e.heartbeat_ms) for e in events if isinstance(e, Command)] == [
        ("PONG 10000", 10_000),
        ("adapterVersion: 3", None),
        ("PONG x", None),
    ]


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"\xff\xfe\x00|a|1", f"{T}|a".encode(), f"{T}||1".encode(), b"yesterday|a|1", f"{T}@x|a|1".encode(),
     f"{T}|a|1|b".encode(), f"{T}|{'k' * 300}|1".encode()],
)  # fmt: skip
def test_garbage_is_kept_with_a_reason_and_the_next_line_is_read(line: bytes) -> None:
    bad, good = parse(line + b"\n" + f"{T}|a|1\n".encode())
    assert isinstance(bad, BadLine)
    assert bad.raw == line
    assert bad.reason
    assert isinstance(good, Observation)


def test_a_line_without_end_is_cut_and_counted_once() -> None:
    parser = ShdrParser()
    events = []
    for _ in range(40):
        events += parser.feed(b"x" * 65_536)
    events += parser.feed(f"tail\n{T}|a|1\n".encode())
    assert [type(e) for e in events] == [BadLine, Observation]
    assert isinstance(events[0], BadLine)
    assert len(events[0].raw) == shdr.BAD_BYTES_MAX
    assert parser.counts.bad == 1


@pytest.mark.parametrize(
    ("path", "lines", "assets"), [(MAZAK, 26_461, 0), (OKUMA, 10_770, 388)], ids=["mazak", "okuma"]
)
def test_every_line_of_a_real_recording_is_accounted_for(path: Path, lines: int, assets: int) -> None:
    data = gzip.decompress(path.read_bytes())
    parser = ShdrParser()
    events = []
    for start in range(0, len(data), 1000):
        events += parser.feed(data[start : start + 1000])
    events += parser.finish()
    counts = parser.counts
    assert counts.total == lines == data.count(b"\n")
    assert (counts.bad, counts.blank, counts.asset) == (0, 0, assets)
    assert counts.data + counts.command + counts.asset == lines
    assert not any(decode_event(e)[2] == BAD_TYPE_MISMATCH for e in events if isinstance(e, Observation | Asset))


def test_the_okuma_runs_backwards_and_its_times_are_kept() -> None:
    times = [e.time_ns for e in ShdrParser().feed(gzip.decompress(OKUMA.read_bytes())) if isinstance(e, Observation)]
    steps = [b - a for a, b in pairwise(times) if a is not None and b is not None]
    assert sum(step < 0 for step in steps) > 0
    assert min(steps) < -1_000_000_000


@given(st.binary(max_size=400), st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_any_bytes_in_any_pieces_are_accounted_for(data: bytes, size: int) -> None:
    whole = ShdrParser()
    expected = whole.feed(data) + whole.finish()
    parser = ShdrParser()
    found = []
    for start in range(0, len(data), size):
        found += parser.feed(data[start : start + size])
    found += parser.finish()
    assert found == expected
    counts = parser.counts
    assert counts.total == counts.data + counts.asset + counts.command + counts.blank + counts.bad
    assert Counter(type(e) for e in found)[BadLine] == counts.bad


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters='\n\r|"'), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
    )
)
@settings(deadline=None)
def test_texts_arrive_as_they_were_sent(texts: list[str]) -> None:
    line = T + "".join(f"|k{i}|{text}" for i, text in enumerate(texts)) + "\n"
    kinds = {f"k{i}": Kind.EVENT for i in range(len(texts))}
    found = [e.fields[0] for e in parse(line, **kinds) if isinstance(e, Observation)]
    assert found == [text.strip() for text in texts]
