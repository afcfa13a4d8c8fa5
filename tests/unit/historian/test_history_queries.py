"""Queries against a brute-force reference, over hot rows, sealed days and late data of sealed days."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from history_kit import BAD, DAY, HOUR_NS, MINUTE_NS, T0, TAGS, History, S, history, rows_of
from history_reference import (
    asof_queries,
    check_asof,
    check_range,
    check_windows,
    range_queries,
    reference_range,
    samples_of_days,
    window_queries,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.historian import AGGREGATES, AsOf, Count, Last, Range, Window, decode_query
from millstream.historian._dialect_duckdb import Chosen, Segment, Sql, render_window
from millstream.historian._query import Aggregate
from millstream.historian._store import DAY_NS
from millstream.kernel import DecodeError, NotFoundError

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def filled(made: History, samples: Sequence[S], cut: int, days: Sequence[int]) -> None:
    """Part arrives, days are sealed, the rest arrives late; the last day may be sealed a second time."""
    made.add(samples[:cut])
    for day in days:
        made.seal(DAY + day)
    made.add(samples[cut:])
    if len(days) > 1:
        made.seal(DAY + days[0])


@quick
@given(samples_of_days, st.integers(0, 40), st.lists(st.integers(0, 2), unique=True), window_queries())
def test_windows_agree_with_the_reference(samples: list[S], cut: int, days: list[int], query: Window) -> None:
    ask_windows(samples, cut, days, query)


@quick
@given(
    samples_of_days, st.integers(0, 40), st.sampled_from([HOUR_NS, 30 * MINUTE_NS, 24 * HOUR_NS, 5 * MINUTE_NS]),
    st.sampled_from([AGGREGATES[:-1], ("mean",), ("first",), ("last", "count"), ("last", "first")]),
)  # fmt: skip
def test_windows_from_rollups_agree_with_the_reference(
    samples: list[S], cut: int, every_ns: int, aggregates: tuple[Aggregate, ...]
) -> None:
    query = Window(tags=TAGS, start_ns=T0, end_ns=T0 + 3 * DAY_NS, every_ns=every_ns, aggregates=aggregates)
    ask_windows(samples, cut, [0, 1, 2], query)


def test_a_rollup_is_read_once_for_means_and_skips_what_other_tags_have() -> None:
    def asked(*aggregates: Aggregate) -> Sql:
        query = Window(tags=("t",), start_ns=T0, end_ns=T0 + DAY_NS, every_ns=HOUR_NS, aggregates=aggregates)
        return render_window(query, Chosen([7]), [Segment(DAY, "day.parquet", "rollup.parquet")])

    means = asked("mean", "max")
    assert means.text.count("read_parquet(") == 1
    assert "tag_id BETWEEN" in means.text.partition("read_parquet(")[2]
    assert asked("first").text.count("read_parquet(") == 1
    assert asked("mean", "first", "last").text.count("read_parquet(") == 3


def ask_windows(samples: list[S], cut: int, days: Sequence[int], query: Window) -> None:
    with history() as made:
        filled(made, samples, cut, days)
        check_windows(rows_of(made.ask(query)), samples, query)


@quick
@given(samples_of_days, st.integers(0, 40), st.lists(st.integers(0, 2), unique=True), range_queries())
def test_ranges_counts_and_last_agree_with_the_reference(
    samples: list[S], cut: int, days: list[int], query: Range
) -> None:
    with history() as made:
        filled(made, samples, cut, days)
        table = made.ask(query)
        check_range(rows_of(table), (table.schema.metadata or {}).get(b"truncated") == b"true", samples, query)
        counted = made.ask(Count(tags=TAGS, start_ns=query.start_ns, end_ns=query.end_ns, quality=query.quality))
        last = {r["tag"]: r for r in rows_of(made.ask(Last(tags=TAGS)))}
    inside = reference_range(samples, query)
    counts = {r["tag"]: r["count"] for r in rows_of(counted)}
    assert counts == {t: n for t in TAGS if (n := sum(s.tag == t for s in inside))}
    for tag in TAGS:
        mine = sorted((s for s in samples if s.tag == tag), key=lambda s: s.time_ns)
        assert (tag in last) == bool(mine)
        assert not mine or last[tag]["timestamp"] == mine[-1].time_ns


@quick
@given(samples_of_days, st.integers(0, 40), st.lists(st.integers(0, 2), unique=True), asof_queries())
def test_as_of_agrees_with_the_reference(samples: list[S], cut: int, days: list[int], query: AsOf) -> None:
    with history() as made:
        filled(made, samples, cut, days)
        check_asof(rows_of(made.ask(query)), samples, query)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1.5, pa.float64()),
        (2**63 - 1, pa.int64()),
        (-(2**63), pa.int64()),
        (True, pa.bool_()),
        ("x" * 100_000, pa.string()),
        (math.nan, pa.float64()),
        (-math.inf, pa.float64()),
        (2**53 + 1, pa.int64()),
        ("a\x00b", pa.string()),
    ],
)
def test_a_value_keeps_its_type_and_its_last_digit_hot_and_sealed(value: Any, kind: pa.DataType) -> None:
    with history() as made:
        made.add([S(TAGS[0], T0 + 123_456_789, value)])
        for _ in range(2):
            table = made.ask(Range(tags=(TAGS[0],)))
            assert table.schema.field("value").type == kind
            (row,) = rows_of(table)
            assert row["timestamp"] == T0 + 123_456_789
            assert row["value"] == value or math.isnan(value)
            made.seal(DAY)


def test_a_sample_without_value_has_its_quality() -> None:
    with history() as made:
        made.add([S(TAGS[0], T0, 1.0), S(TAGS[0], T0 + 1, None, BAD)])
        assert [(r["value"], r["quality"]) for r in rows_of(made.ask(Range(tags=(TAGS[0],))))] == [
            (1.0, 0),
            (None, BAD),
        ]
        assert rows_of(made.ask(Last(tags=(TAGS[0],))))[0]["value"] is None


def test_times_before_1970_and_at_the_ends_of_the_range_are_kept_and_sealed() -> None:
    times = [-9_214_560_000_000_000_000, -1, 0, 9_214_646_399_999_999_999]
    with history() as made:
        made.add([S(TAGS[0], t, float(i)) for i, t in enumerate(times)])
        assert sum(made.store.hot_days().values()) == 4
        for day in made.store.hot_days():
            made.seal(day)
        assert made.store.hot_days() == {}
        assert [r["timestamp"] for r in rows_of(made.ask(Range(tags=(TAGS[0],))))] == times


def test_names_are_values_never_sql() -> None:
    evil = "acme/p1:x'; DROP TABLE readings; --"
    with history() as made:
        made.add([S(evil, T0, 1.0)])
        assert len(rows_of(made.ask(Range(tags=(evil,))))) == 1
        with pytest.raises(NotFoundError):
            made.ask(Range(tags=("'; DROP TABLE readings; --",)))
        assert len(rows_of(made.ask(Range(tags=("*",))))) == 1


def test_an_unknown_tag_is_named_with_its_neighbour() -> None:
    with history() as made, pytest.raises(NotFoundError, match="did you mean acme/p1:"):
        made.ask(Last(tags=("acme/p1:A",)))


def test_a_pattern_that_matches_nothing_gives_no_rows() -> None:
    with history() as made:
        assert made.ask(Range(tags=("zzz*",))).num_rows == 0
        assert made.ask(Window(tags=("zzz*",), start_ns=0, end_ns=10, every_ns=5, aggregates=AGGREGATES)).num_rows == 0


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'{"kind":"drop"}',
        b'{"kind":"last","tags":[]}',
        b'{"kind":"range","tags":["a"],"limit":0}',
        b'{"kind":"range","tags":["a"],"limit":99999999}',
        b'{"kind":"range","tags":["a"],"start_ns":5,"end_ns":4}',
        b'{"kind":"range","tags":["a"],"sql":"x"}',
        b'{"kind":"window","tags":["a"],"start_ns":0,"end_ns":9,"every_ns":0}',
        b'{"kind":"window","tags":["a"],"start_ns":0,"end_ns":9,"every_ns":1,"aggregates":["drop table"]}',
        b'{"kind":"window","tags":["a"],"start_ns":0,"end_ns":9000000000000000000,"every_ns":1,"aggregates":["time_weighted_mean"]}',
        b'{"kind":"asof","tags":["a"]}',
        b'{"kind":"asof","tags":["a"],"reference":"b","every_ns":5}',
        b'{"kind":"asof","tags":["a"],"every_ns":1,"start_ns":0,"end_ns":9000000000000000000}',
        b"\xff",
        b'{"kind":"range","tags":["a"],"start_ns":99999999999999999999}',
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_query(payload)
    assert caught.value.code == "MS-0320"
