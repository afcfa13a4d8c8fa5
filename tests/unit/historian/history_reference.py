"""What each question must answer, by brute force from the words of the query model; samples to ask about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from history_kit import BAD, HOUR_NS, MINUTE_NS, T0, TAGS, UNCERTAIN, S
from hypothesis import strategies as st

from millstream.historian import AGGREGATES, AsOf, Range, Window
from millstream.historian._store import DAY_NS


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


def check_windows(answer: Sequence[dict[str, Any]], samples: Sequence[S], query: Window) -> None:
    """Compare an answer with the reference."""
    expected = reference_window(samples, query)
    assert {(r["timestamp"], r["tag"]) for r in answer} == set(expected)
    for row in answer:
        right = expected[row["timestamp"], row["tag"]]
        assert all(near(row[a], right[a]) for a in query.aggregates), (row, right)


@st.composite
def window_queries(draw: st.DrawFn) -> Window:
    """Windows over the days of the samples."""
    return Window(
        tags=TAGS,
        start_ns=draw(st.sampled_from([T0, T0 + 90 * MINUTE_NS + 7, T0 - DAY_NS])),
        end_ns=draw(st.sampled_from([T0 + 3 * DAY_NS, T0 + DAY_NS + 5, T0 + 2 * DAY_NS])),
        every_ns=draw(st.sampled_from([HOUR_NS, 30 * MINUTE_NS, 7 * HOUR_NS, 12_345_678_901_234])),
        aggregates=draw(st.sampled_from([AGGREGATES, AGGREGATES[:-1], ("count",), ("last", "mean")])),
        quality=draw(st.sampled_from(["any", "usable", "good"])),
    )


@st.composite
def range_queries(draw: st.DrawFn) -> Range:
    """Ranges, open or not, cut or not."""
    return Range(
        tags=TAGS,
        start_ns=draw(st.none() | st.integers(T0, T0 + DAY_NS)),
        end_ns=draw(st.none() | st.integers(T0 + DAY_NS, T0 + 3 * DAY_NS)),
        quality=draw(st.sampled_from(["any", "usable", "good"])),
        limit=draw(st.integers(1, 50)),
        descending=draw(st.booleans()),
    )


def reference_range(samples: Sequence[S], query: Range) -> list[S]:
    """All that fits, in the order of the answer, without the limit."""
    start, end = query.start_ns, query.end_ns
    inside = [
        s
        for s in samples
        if (start is None or s.time_ns >= start) and (end is None or s.time_ns < end) and passes(s, query.quality)
    ]
    sign = -1 if query.descending else 1
    # tags were numbered in the order of TAGS
    return [
        s for _, s in sorted(enumerate(inside), key=lambda p: (sign * p[1].time_ns, TAGS.index(p[1].tag), sign * p[0]))
    ]


def same(left: Any, right: Any) -> bool:
    """Equal, or both NaN."""
    return left == right or (isinstance(left, float) and math.isnan(left) and math.isnan(right))


def check_range(answer: Sequence[dict[str, Any]], is_cut: bool, samples: Sequence[S], query: Range) -> None:
    """Compare an answer with the reference."""
    ordered = reference_range(samples, query)
    assert [(r["tag"], r["timestamp"], r["quality"]) for r in answer] == [
        (s.tag, s.time_ns, s.quality) for s in ordered[: query.limit]
    ]
    assert is_cut == (len(ordered) > query.limit)
    assert all(same(s.value, row["value"]) for row, s in zip(answer, ordered, strict=False))


@st.composite
def asof_queries(draw: st.DrawFn) -> AsOf:
    """Reference times of all three kinds."""
    how = draw(st.sampled_from(["reference", "every_ns", "times_ns"]))
    return AsOf(
        tags=TAGS,
        start_ns=T0 + HOUR_NS,
        end_ns=T0 + 2 * DAY_NS,
        max_age_ns=draw(st.none() | st.sampled_from([0, HOUR_NS, DAY_NS])),
        quality=draw(st.sampled_from(["any", "usable"])),
        reference=TAGS[0] if how == "reference" else None,
        every_ns=5 * HOUR_NS if how == "every_ns" else None,
        times_ns=tuple(draw(st.lists(st.integers(T0, T0 + 3 * DAY_NS), max_size=5))) if how == "times_ns" else None,
    )


def reference_times(samples: Sequence[S], query: AsOf) -> set[int]:
    """The times that an as-of query is about."""
    assert query.start_ns is not None
    assert query.end_ns is not None
    if query.times_ns is not None:
        return set(query.times_ns)
    if query.every_ns is not None:
        return set(range(query.start_ns, query.end_ns, query.every_ns))
    return {s.time_ns for s in samples if s.tag == query.reference and query.start_ns <= s.time_ns < query.end_ns}


def check_asof(answer: Sequence[dict[str, Any]], samples: Sequence[S], query: AsOf) -> None:
    """Compare an answer with the reference."""
    expected = {}
    for at in reference_times(samples, query):
        for tag in query.tags:
            mine = [s for s in samples if s.tag == tag and s.time_ns <= at and passes(s, query.quality)]
            newest = max(mine, key=lambda s: s.time_ns, default=None)
            if newest is not None and (query.max_age_ns is None or at - newest.time_ns <= query.max_age_ns):
                # of equal times the one that arrived last
                value = [s.value for s in mine if s.time_ns == newest.time_ns][-1]
                expected[at, tag] = (newest.time_ns, value)
    assert {(r["timestamp"], r["tag"]) for r in answer} == set(expected)
    for row in answer:
        time_ns, value = expected[row["timestamp"], row["tag"]]
        assert row["sample_timestamp"] == time_ns
        assert same(value, row["value"])
