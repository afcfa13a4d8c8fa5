"""Queries against a brute-force reference, over hot rows, sealed days and late data of sealed days."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from history_kit import BAD, DAY, HOUR_NS, MINUTE_NS, T0, TAGS, UNCERTAIN, History, S, history, rows_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.historian import AGGREGATES, AsOf, Count, Last, Range, Window, decode_query
from millstream.historian._store import DAY_NS
from millstream.kernel import DecodeError, NotFoundError


def passes(s: S, quality: str) -> bool:
    return quality == "any" or s.quality < (BAD if quality == "usable" else UNCERTAIN)


def number(value: Any) -> float | None:
    return float(value) if isinstance(value, bool | int | float) and math.isfinite(value) else None


def near(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-6)


def reference_window(samples: Sequence[S], query: Window) -> dict[tuple[int, str], dict[str, Any]]:
    """By the words of `Window`, one tag, one window at a time."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    first = query.start_ns // query.every_ns * query.every_ns
    for tag in query.tags:
        mine = sorted((s for s in samples if s.tag == tag), key=lambda s: s.time_ns)  # stable: arrival breaks ties
        for begin in range(first, query.end_ns, query.every_ns):
            a, b = max(begin, query.start_ns), min(begin + query.every_ns, query.end_ns)
            inside = [s for s in mine if a <= s.time_ns < b and passes(s, query.quality)]
            numbers = [n for s in inside if (n := number(s.value)) is not None]
            weighted = reference_mean(mine, a, b, query.quality)
            if not inside and (weighted is None or "time_weighted_mean" not in query.aggregates):
                continue
            found[begin, tag] = {
                "count": len(inside),
                "min": min(numbers, default=None),
                "max": max(numbers, default=None),
                "sum": math.fsum(numbers) if numbers else None,
                "mean": math.fsum(numbers) / len(numbers) if numbers else None,
                "first": numbers[0] if numbers else None,
                "last": numbers[-1] if numbers else None,
                "time_weighted_mean": weighted,
            }
    return found


def reference_mean(mine: Sequence[S], a: int, b: int, quality: str) -> float | None:
    total, held = 0.0, 0
    for i, s in enumerate(mine):
        n = number(s.value)
        until = mine[i + 1].time_ns if i + 1 < len(mine) else b
        span = min(until, b) - max(s.time_ns, a)
        if span > 0 and n is not None and passes(s, quality):
            total, held = total + n * span, held + span
    return total / held if held else None


values = st.one_of(
    st.floats(-1e6, 1e6),
    st.integers(-(2**53), 2**53),
    st.booleans(),
    st.just(math.nan),
    st.just(math.inf),
    st.text(max_size=3),
)
samples_of_days = st.lists(
    st.builds(
        S,
        st.sampled_from(TAGS),
        st.integers(0, 3 * 24 * 60).map(lambda m: T0 + m * MINUTE_NS) | st.integers(T0, T0 + 3 * DAY_NS),
        values,
        st.sampled_from([0, 0, 0, UNCERTAIN, BAD]),
    ),
    min_size=1,
    max_size=40,
)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def filled(made: History, samples: Sequence[S], cut: int, days: Sequence[int]) -> None:
    """Part arrives, days are sealed, the rest arrives late; the last day may be sealed a second time."""
    made.add(samples[:cut])
    for day in days:
        made.seal(DAY + day)
    made.add(samples[cut:])
    if len(days) > 1:
        made.seal(DAY + days[0])


@quick
@given(samples_of_days, st.integers(0, 40), st.lists(st.integers(0, 2), unique=True), st.data())
def test_windows_agree_with_the_reference(samples: list[S], cut: int, days: list[int], data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([T0, T0 + 90 * MINUTE_NS + 7, T0 - DAY_NS]))
    query = Window(
        tags=TAGS,
        start_ns=start,
        end_ns=data.draw(st.sampled_from([T0 + 3 * DAY_NS, T0 + DAY_NS + 5, T0 + 2 * DAY_NS])),
        every_ns=data.draw(st.sampled_from([HOUR_NS, 30 * MINUTE_NS, 7 * HOUR_NS, 12_345_678_901_234])),
        aggregates=data.draw(st.sampled_from([AGGREGATES, AGGREGATES[:-1], ("count",), ("last", "mean")])),
        quality=data.draw(st.sampled_from(["any", "usable", "good"])),
    )
    check_windows(samples, cut, days, query)


@quick
@given(samples_of_days, st.integers(0, 40), st.sampled_from([HOUR_NS, 30 * MINUTE_NS, 24 * HOUR_NS, 5 * MINUTE_NS]))
def test_windows_from_rollups_agree_with_the_reference(samples: list[S], cut: int, every_ns: int) -> None:
    query = Window(tags=TAGS, start_ns=T0, end_ns=T0 + 3 * DAY_NS, every_ns=every_ns, aggregates=AGGREGATES[:-1])
    check_windows(samples, cut, [0, 1, 2], query)


def check_windows(samples: list[S], cut: int, days: Sequence[int], query: Window) -> None:
    with history() as made:
        filled(made, samples, cut, days)
        answer = rows_of(made.ask(query))
    expected = reference_window(samples, query)
    assert {(r["timestamp"], r["tag"]) for r in answer} == set(expected)
    for row in answer:
        right = expected[row["timestamp"], row["tag"]]
        assert all(near(row[a], right[a]) for a in query.aggregates), (row, right)


@quick
@given(samples_of_days, st.integers(0, 40), st.lists(st.integers(0, 2), unique=True), st.data())
def test_ranges_counts_and_last_agree_with_the_reference(
    samples: list[S], cut: int, days: list[int], data: st.DataObject
) -> None:
    start = data.draw(st.none() | st.integers(T0, T0 + DAY_NS))
    end = data.draw(st.none() | st.integers(T0 + DAY_NS, T0 + 3 * DAY_NS))
    quality: Any = data.draw(st.sampled_from(["any", "usable", "good"]))
    limit, is_down = data.draw(st.integers(1, 50)), data.draw(st.booleans())
    inside = [
        s
        for s in samples
        if (start is None or s.time_ns >= start) and (end is None or s.time_ns < end) and passes(s, quality)
    ]
    # tags were numbered in the order of TAGS
    ordered = sorted(enumerate(inside), key=lambda p: (p[1].time_ns, TAGS.index(p[1].tag), p[0]))
    if is_down:
        ordered = sorted(enumerate(inside), key=lambda p: (-p[1].time_ns, TAGS.index(p[1].tag), -p[0]))
    with history() as made:
        filled(made, samples, cut, days)
        table = made.ask(Range(tags=TAGS, start_ns=start, end_ns=end, quality=quality, limit=limit, descending=is_down))
        answer = rows_of(table)
        counts = {
            r["tag"]: r["count"]
            for r in rows_of(made.ask(Count(tags=TAGS, start_ns=start, end_ns=end, quality=quality)))
        }
        last = {r["tag"]: r for r in rows_of(made.ask(Last(tags=TAGS)))}
    assert [(r["tag"], r["timestamp"], r["quality"]) for r in answer] == [
        (s.tag, s.time_ns, s.quality) for _, s in ordered[:limit]
    ]
    assert ((table.schema.metadata or {}).get(b"truncated") == b"true") == (len(inside) > limit)
    for row, (_, s) in zip(answer, ordered, strict=False):
        assert row["value"] == s.value or (
            isinstance(s.value, float) and math.isnan(s.value) and math.isnan(row["value"])
        )
    assert counts == {t: n for t in TAGS if (n := sum(s.tag == t for s in inside))}
    for tag in TAGS:
        mine = sorted((s for s in samples if s.tag == tag), key=lambda s: s.time_ns)
        assert (tag in last) == bool(mine)
        assert not mine or last[tag]["timestamp"] == mine[-1].time_ns


@quick
@given(samples_of_days, st.integers(0, 40), st.lists(st.integers(0, 2), unique=True), st.data())
def test_as_of_agrees_with_the_reference(samples: list[S], cut: int, days: list[int], data: st.DataObject) -> None:
    how = data.draw(st.sampled_from(["reference", "every_ns", "times_ns"]))
    start, end = T0 + HOUR_NS, T0 + 2 * DAY_NS
    max_age = data.draw(st.none() | st.sampled_from([0, HOUR_NS, DAY_NS]))
    quality: Any = data.draw(st.sampled_from(["any", "usable"]))
    given_times = tuple(data.draw(st.lists(st.integers(T0, T0 + 3 * DAY_NS), max_size=5)))
    query = AsOf(
        tags=TAGS,
        start_ns=start,
        end_ns=end,
        max_age_ns=max_age,
        quality=quality,
        reference=TAGS[0] if how == "reference" else None,
        every_ns=5 * HOUR_NS if how == "every_ns" else None,
        times_ns=given_times if how == "times_ns" else None,
    )
    times = {
        "reference": {s.time_ns for s in samples if s.tag == TAGS[0] and start <= s.time_ns < end},
        "every_ns": set(range(start, end, 5 * HOUR_NS)),
        "times_ns": set(given_times),
    }[how]
    expected = {}
    for at in times:
        for tag in TAGS:
            mine = [s for s in samples if s.tag == tag and s.time_ns <= at and passes(s, quality)]
            newest = max(mine, key=lambda s: s.time_ns, default=None)
            if newest is not None and (max_age is None or at - newest.time_ns <= max_age):
                # of equal times the one that arrived last
                value = [s.value for s in mine if s.time_ns == newest.time_ns][-1]
                expected[at, tag] = (newest.time_ns, value)
    with history() as made:
        filled(made, samples, cut, days)
        answer = rows_of(made.ask(query))
    assert {(r["timestamp"], r["tag"]) for r in answer} == set(expected)
    for row in answer:
        time_ns, value = expected[row["timestamp"], row["tag"]]
        assert row["sample_timestamp"] == time_ns
        assert row["value"] == value or (isinstance(value, float) and math.isnan(value) and math.isnan(row["value"]))


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
