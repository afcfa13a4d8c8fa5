"""The header `traceparent`; the valid and invalid forms are those of W3C Trace Context, section 3.2."""

from __future__ import annotations

import pytest

from millstream.protocols.trace_context import (
    TraceParent,
    begin_trace,
    begun_ns,
    next_span,
    parse_traceparent,
    traceparent_in,
)

NOW_NS = 1_800_000_000 * 10**9
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_the_example_of_the_recommendation_is_read_and_written() -> None:
    text = f"00-{TRACE}-{SPAN}-01"
    assert parse_traceparent(text) == TraceParent(TRACE, SPAN, 1)
    assert str(TraceParent(TRACE, SPAN, 1)) == text


def test_a_later_version_is_read_as_far_as_this_one_goes() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like") == TraceParent(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "text",
    [
        "", "00", f"00-{TRACE}-{SPAN}", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more", f"0-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-0x",
    ],
)  # fmt: skip
def test_what_the_recommendation_calls_invalid_is_none(text: str) -> None:
    assert parse_traceparent(text) is None
    assert next_span(text, "a flow") is None


def test_traces_of_one_seed_are_all_different_and_valid() -> None:
    made = [begin_trace(b"seed", number, NOW_NS) for number in range(1000)]
    assert len({each.trace_id for each in made}) == 1000
    assert all(parse_traceparent(str(each)) == each for each in made)
    assert begin_trace(b"other", 0, NOW_NS) != made[0]


def test_a_trace_id_tells_the_millisecond_in_which_its_trace_began() -> None:
    times_ms = [1, 1_800_000_000_123, 2**48 - 1]
    made = [begin_trace(b"seed", 1, at * 1_000_000 + 999_999) for at in times_ms]
    assert [begun_ns(each.trace_id) for each in made] == [at * 1_000_000 for at in times_ms]
    assert all(parse_traceparent(str(each)) == each for each in made)
    assert len({each.trace_id[12:] for each in made}) == 1, "the rest is by chance"


def test_a_station_keeps_the_trace_and_has_a_span_that_is_the_same_when_it_is_made_again() -> None:
    parent = f"00-{TRACE}-{SPAN}-01"
    one, again, other = (next_span(parent, name) for name in ("parts/1/0|S:7:0", "parts/1/0|S:7:0", "parts/1/0|S:7:1"))
    assert one == again != other
    found = parse_traceparent(one or "")
    assert found is not None
    assert (found.trace_id, found.flags) == (TRACE, 1)
    assert found.span_id != SPAN


def test_the_header_is_found_in_a_raw_block() -> None:
    text = f"00-{TRACE}-{SPAN}-01"
    assert traceparent_in(f"NATS/1.0\r\nMs-Count: 2\r\ntraceparent: {text}\r\n\r\n".encode()) == text
    assert traceparent_in(b"NATS/1.0\r\nMs-Count: 2\r\n\r\n") == ""
    assert traceparent_in(None) == ""
