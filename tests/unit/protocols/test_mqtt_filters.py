"""Subscriptions that never bring a message twice."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.protocols.mqtt_mapping import fewest, matches, overlap

LEVEL = st.sampled_from(["a", "b", "", "$x"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.one_of(LEVEL, st.just("+")), min_size=1, max_size=4))
    return "/".join([*levels, "#"] if draw(st.booleans()) else levels) or "a"


@given(st.lists(patterns(), max_size=6), st.lists(TOPIC, max_size=20))
def test_each_topic_is_taken_by_one_filter_if_any_was_asked_for(asked: list[str], topics: list[str]) -> None:
    found = fewest(asked)
    for one, other in combinations(found, 2):
        assert not overlap(one, other)
    for topic in topics:
        taken = sum(matches(pattern, topic) for pattern in found)
        assert taken <= 1
        assert taken == 1 or not any(matches(pattern, topic) for pattern in asked)


@given(patterns(), patterns(), TOPIC)
def test_filters_that_take_the_same_topic_overlap(one: str, other: str, topic: str) -> None:
    if matches(one, topic) and matches(other, topic):
        assert overlap(one, other)
    assert overlap(one, other) == overlap(other, one)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["a/+/c", "a/b/+"], ["a/+/+"]),
        (["a/#", "+/b"], ["+/#"]),
        (["a/b", "a/+", "b"], ["a/+", "b"]),
        (["a/b/c", "a/b"], ["a/b/c", "a/b"]),
        (["a/#", "a"], ["a/#"]),
        (["+/x", "$SYS/x"], ["+/x", "$SYS/x"]),
    ],
)
def test_overlapping_filters_become_the_narrowest_that_covers_both(asked: list[str], found: list[str]) -> None:
    assert fewest(asked) == found


def test_ten_thousand_topics_are_not_compared_with_each_other() -> None:
    """Each against each would hold the edge up for a minute, at each start of a session."""
    topics = [f"hall/{number}/value" for number in range(100_000)]
    assert fewest([*topics, "hall/7/+"]) == ["hall/7/+", *(topic for topic in topics if topic != "hall/7/value")]
