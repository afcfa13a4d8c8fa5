"""The pipeline: nothing is dropped but what a deadband suppresses, order is kept, everything is counted."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.config import ConnectorEntry, EdgeConfig, EdgeIdentity
from millstream.edge._pipeline import BLOCK_BYTES_MAX, CLOCK_AHEAD_NS_MAX, Output, Pipeline
from millstream.edge._scaling import scale_array, scale_value
from millstream.model import (
    BAD_DATA_UNAVAILABLE,
    BAD_NO_COMMUNICATION,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    UNCERTAIN,
    Block,
    Quality,
    Sample,
)
from millstream.protocols.uns_payload import ARROW_TYPE, decode_block, decode_sample, decode_value
from millstream.sdk import Message

KEY = "acme/p1/line:t"
NOW = 1_700_000_000_000_000_000


def pipeline(**tag: Any) -> Pipeline:
    entry = ConnectorEntry.model_validate(
        {"name": "a", "type": "x", "path": "line", "tags": [{"name": "t", "address": "1", **tag}]}
    )
    config = EdgeConfig(edge=EdgeIdentity(name="e", path="acme/p1", data_dir="/x"), connectors=(entry,))
    return Pipeline(config.mapped_tags(entry), config.connector_path(entry))


def feed(made: Pipeline, *samples: Sample, now_ns: int = NOW) -> Output:
    out = Output()
    made.feed(samples, now_ns, now_ns, out)
    return out


def values_of(messages: list[Message]) -> list[Any]:
    values: list[Any] = []
    for m in messages:
        if m.content_type == ARROW_TYPE:
            record = decode_block(m.payload)
            assert m.samples_count == len(record)
            values += record.values.tolist() if isinstance(record.values, np.ndarray) else record.values
        else:
            values.append(decode_sample(m.payload).value)
    return values


def same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats())
anything = st.one_of(
    numbers, st.booleans(), st.text(max_size=20), st.binary(max_size=20), st.lists(st.integers(), max_size=3)
)


@given(st.lists(anything, max_size=30), st.booleans())
def test_every_value_comes_out_in_order_collected_or_not(values: list[Any], collects: bool) -> None:
    made = pipeline(**({"publishing_interval": "1h"} if collects else {}))
    out = feed(made, *(Sample(KEY, v, GOOD, NOW + i) for i, v in enumerate(values)))
    made.flush_all(NOW, out)
    found = values_of(out.messages)
    assert len(found) == len(values)
    assert all(same(a, b) for a, b in zip(found, values, strict=True)), (found, values)
    assert out.dead == []


@given(st.lists(numbers, min_size=1, max_size=40), st.floats(0.001, 1e6))
def test_a_deadband_suppresses_only_changes_smaller_than_itself(values: list[float], band: float) -> None:
    made = pipeline(deadband={"absolute": band})
    last: float | None = None
    for value in values:
        found = values_of(feed(made, Sample(KEY, value)).messages)
        if found:
            last = value
            continue
        assert last is not None
        assert type(last) is type(value)
        assert same(last, value) or abs(value - last) < band
    counters = made.counters
    assert counters.received == len(values)


@given(st.lists(st.tuples(anything, st.sampled_from([GOOD, Quality(0x80000000), Quality(0x40000000)])), max_size=30))
def test_the_account_of_a_pipeline_always_balances(rows: list[tuple[Any, Quality]]) -> None:
    made = pipeline(deadband={"percent": 10}, publishing_interval="1h")
    out = feed(made, *(Sample(KEY, v, q) for v, q in rows))
    made.lose_link(NOW, out)
    c = made.counters
    assert sum(m.samples_count for m in out.messages) == c.received - c.filtered - c.dead + c.added


def test_quality_changes_always_pass_the_deadband() -> None:
    made = pipeline(deadband={"absolute": 100})
    out = feed(made, Sample(KEY, 1.0), Sample(KEY, 1.0), Sample(KEY, 1.0, Quality(0x40000000)), Sample(KEY, 1.0))
    assert len(out.messages) == 3
    assert made.counters.filtered == 1


def test_what_is_not_good_is_counted_as_what_it_is_singly_and_in_blocks() -> None:
    qualities = [GOOD, BAD_NO_COMMUNICATION, UNCERTAIN, UNCERTAIN, *[BAD_WAITING_FOR_INITIAL_DATA] * 3]
    single, blocks = pipeline(), pipeline()
    feed(single, *(Sample(KEY, None if quality >> 30 else 1, quality, NOW) for quality in qualities))
    count = len(qualities)
    times = np.arange(NOW, NOW + count, dtype=np.int64)
    blocks.feed_block(Block(KEY, times, np.zeros(count), np.array(qualities, np.uint32)), NOW, NOW, Output())
    for counters in (single.counters, blocks.counters):
        assert (counters.bad, counters.uncertain, counters.waiting) == (1, 2, 3)


def test_nan_is_sent_once_and_leaves_again() -> None:
    made = pipeline(deadband={"absolute": 1})
    out = feed(made, *(Sample(KEY, v) for v in (1.0, math.nan, math.nan, math.inf, math.inf, 1.0)))
    found = [m.payload for m in out.messages]
    assert len(found) == 4
    assert b"NaN" in found[1]
    assert b"Infinity" in found[2]


def test_a_change_of_type_passes_the_deadband_and_ends_a_block() -> None:
    made = pipeline(deadband={"absolute": 100}, publishing_interval="1h")
    out = feed(made, Sample(KEY, 1), Sample(KEY, 1.0), Sample(KEY, "1"), Sample(KEY, True))
    made.flush_all(NOW, out)
    found = values_of(out.messages)
    assert [type(v) for v in found] == [int, float, str, bool]


@given(st.integers(-(2**60), 2**60), st.integers(-1000, 1000).filter(bool), st.integers(-(10**9), 10**9))
def test_integers_stay_exact_under_integer_scales(value: int, factor: int, offset: int) -> None:
    assert scale_value(value, factor, offset) == value * factor + offset
    assert type(scale_value(value, factor, offset)) is int


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1), st.integers(-1000, 1000).filter(bool), st.integers())
def test_arrays_scale_as_single_values_do(values: list[int], factor: int, offset: int) -> None:
    offset %= 2**40
    scaled = scale_array(np.array(values, np.int32), factor, offset)
    assert scaled.tolist() == [v * factor + offset for v in values]


def test_a_scale_leaves_text_and_flags_alone() -> None:
    assert scale_value("x", 2, 1) == "x"
    assert scale_value(True, 2, 1) is True
    assert scale_value(None, 2, 1) is None
    assert scale_value([1, "a", 2.5], 2, 1) == [3, "a", 6.0]
    assert scale_value(10**400, 0.5, 0.0) == math.inf


def test_clocks_that_go_back_or_ahead_are_kept_and_flagged() -> None:
    made = pipeline()
    ahead = NOW + CLOCK_AHEAD_NS_MAX
    times = [NOW, NOW - 5, NOW + 10, ahead + 2, ahead + 1, NOW + 20, None]
    out = feed(made, *(Sample(KEY, 1, GOOD, t) for t in times))
    flags = [decode_sample(m.payload).clock for m in out.messages]
    assert flags == [None, "backward", None, "ahead", "ahead", "backward", None], "who goes back and is ahead is ahead"
    assert made.counters.clock_flags == 4


def test_an_oversize_value_is_a_dead_letter_and_a_bad_sample() -> None:
    made = pipeline(unit="mm")
    out = feed(made, Sample(KEY, "x" * 2_000_000, GOOD, NOW), Sample(KEY, "small"))
    assert [len(d.payload) for d in out.dead] == [2_000_000]
    assert out.dead[0].subject == "uns.v1.acme.p1.line._tag.t"
    first, second = (decode_sample(m.payload) for m in out.messages)
    assert (first.value, first.quality, first.timestamp_ns) == (None, BAD_OUT_OF_RANGE, NOW)
    assert second.value == "small"


@pytest.mark.parametrize("collects", [False, True])
@pytest.mark.parametrize("value", ["\ud800", object(), {1: 2}, ["\udfff"], 1j])
def test_a_value_that_no_payload_can_hold_is_a_dead_letter_and_the_others_go_on(value: Any, collects: bool) -> None:
    made = pipeline(**({"publishing_interval": "1h"} if collects else {}))
    out = feed(made, Sample(KEY, "before"), Sample(KEY, value), Sample(KEY, "after"))
    made.flush_all(NOW, out)
    assert len(out.dead) == 1
    found = [decode_sample(m.payload) for m in out.messages if m.content_type is None]
    assert [f.value for f in found if f.value is not None] == ["before", "after"]
    assert [f.quality for f in found if f.value is None] == [BAD_TYPE_MISMATCH]


def test_a_value_nested_without_end_is_a_dead_letter() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    out = feed(pipeline(), Sample(KEY, value))
    assert len(out.dead) == 1


def test_no_value_with_good_quality_becomes_bad() -> None:
    out = feed(pipeline(), Sample(KEY, None))
    assert decode_sample(out.messages[0].payload).quality == BAD_DATA_UNAVAILABLE


@given(st.lists(st.tuples(st.none() | numbers, st.integers(0, 2**32 - 1)), min_size=1, max_size=20), st.booleans())
def test_whatever_quality_a_missing_value_has_what_is_stored_can_be_read(
    rows: list[tuple[Any, int]], collects: bool
) -> None:
    """Bad and uncertain stay as the source said; good without a value is the one contradiction."""
    made = pipeline(**({"publishing_interval": "1h"} if collects else {}))
    out = feed(made, *(Sample(KEY, value, Quality(quality)) for value, quality in rows))
    made.flush_all(NOW, out)
    qualities: list[int] = []
    for m in out.messages:
        if m.content_type == ARROW_TYPE:
            block = decode_block(m.payload)
            qualities += [0] * len(block) if block.quality is None else block.quality.tolist()
        else:
            qualities.append(decode_sample(m.payload).quality)
    wanted = [BAD_DATA_UNAVAILABLE if v is None and not Quality(q).allows_null else q for v, q in rows]
    assert qualities == wanted
    assert not out.dead


def test_blocks_are_bounded_in_bytes_and_due_after_their_interval() -> None:
    made = pipeline(publishing_interval="2s")
    out = Output()
    for i in range(100):
        made.feed_one(Sample(KEY, "y" * 10_000, GOOD, NOW + i), NOW, i, out)
    assert out.messages
    assert all(len(m.payload) <= BLOCK_BYTES_MAX + 20_000 for m in out.messages)
    assert made.due_ns is not None
    before = len(out.messages)
    made.flush_due(NOW, made.due_ns - 1, out)
    assert len(out.messages) == before
    made.flush_due(NOW, made.due_ns, out)
    assert len(values_of(out.messages)) == 100


def test_a_single_collected_sample_is_json() -> None:
    made = pipeline(publishing_interval="2s")
    out = feed(made, Sample(KEY, 1.5))
    made.flush_all(NOW, out)
    assert out.messages[0].content_type is None
    assert "timestamp_ns" not in msgspec.json.decode(out.messages[0].payload)


def test_waveform_blocks_pass_untouched_and_are_split_to_size() -> None:
    made = pipeline()
    n = 100_000
    values = np.random.default_rng(1).normal(size=n)
    out = Output()
    made.feed_block(Block(KEY, np.arange(n, dtype=np.int64), values), NOW, 0, out)
    assert len(out.messages) > 1
    assert all(len(m.payload) <= BLOCK_BYTES_MAX for m in out.messages)
    assert np.array_equal(np.array(values_of(out.messages)), values)
    assert made.counters.received == n


def test_a_deadband_looks_into_blocks() -> None:
    made = pipeline(deadband={"absolute": 1})
    out = Output()
    values = np.array([0.0, 0.1, 2.0, 2.1, 5.0])
    made.feed_block(Block(KEY, np.arange(5, dtype=np.int64), values), NOW, 0, out)
    assert values_of(out.messages) == [0.0, 2.0, 5.0]
    assert made.counters.filtered == 2


def test_a_block_whose_columns_differ_is_a_dead_letter() -> None:
    made = pipeline()
    out = Output()
    made.feed_block(Block(KEY, np.arange(3, dtype=np.int64), np.array([1.0])), NOW, 0, out)
    c = made.counters
    assert len(out.dead) == 1
    assert len(out.messages) == c.received - c.dead + c.added == 1


def test_a_lost_link_is_one_bad_sample_until_data_comes_again() -> None:
    made = pipeline()
    out = Output()
    for _ in range(3):
        made.lose_link(NOW, out)
    made.feed([Sample(KEY, 1)], NOW, 0, out)
    made.lose_link(NOW, out)
    assert [decode_sample(m.payload).quality for m in out.messages] == [BAD_NO_COMMUNICATION, 0, BAD_NO_COMMUNICATION]


def test_after_a_lost_link_the_same_value_passes_the_deadband() -> None:
    made = pipeline(deadband={"absolute": 1})
    out = feed(made, Sample(KEY, 1.0))
    made.lose_link(NOW, out)
    made.feed([Sample(KEY, 1.0)], NOW, 0, out)
    assert len(out.messages) == 3


def test_a_source_may_name_its_own_tags_below_its_place() -> None:
    made = pipeline(unit="bar", scale={"factor": 2})
    out = feed(made, Sample("x/y", 1), Sample("acme/p1/line/sub:z", 2), Sample(f"{KEY}/inner", 3))
    assert [m.subject for m in out.messages] == [
        "uns.v1.acme.p1.line._tag.x.y", "uns.v1.acme.p1.line.sub._tag.z", "uns.v1.acme.p1.line._tag.t.inner",
    ]  # fmt: skip
    last = decode_sample(out.messages[2].payload)
    assert (last.value, last.unit) == (6, "bar")


@pytest.mark.parametrize("key", ["", "a//b", "other/site:x", "\ud800", "x" * 500, "a\x00b"])
def test_a_name_that_cannot_be_a_tag_is_a_dead_letter(key: str) -> None:
    made = pipeline()
    out = feed(made, Sample(key, 1))
    assert out.messages == []
    assert len(out.dead) == 1
    assert made.counters.dead == 1


def test_thinning_halves_floats_and_counts_them() -> None:
    made = pipeline()
    made.thins = True
    out = feed(made, *(Sample(KEY, float(i)) for i in range(100)), Sample(KEY, 7), Sample(KEY, "s"))
    assert len(out.messages) == 100 - made.counters.filtered + 2
    assert 49 <= made.counters.filtered <= 51


def test_special_values_of_json_survive() -> None:
    out = feed(pipeline(), Sample(KEY, {"a": [math.inf, b"x"]}), Sample(KEY, 2**64))
    assert decode_value(msgspec.json.encode(msgspec.json.decode(out.messages[0].payload)["value"])) == {
        "a": [math.inf, b"x"]
    }
