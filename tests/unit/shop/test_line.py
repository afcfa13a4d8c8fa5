"""Why machines of a line wait: the cause is found past others that wait, and nothing is said that nobody knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.shop import Category, Standing, Wait, waits

RUN, IDLE, DOWN, SETUP, UNKNOWN = (
    Category.PRODUCTION, Category.IDLE, Category.DOWN, Category.SETUP, Category.UNKNOWN
)  # fmt: skip
LINE = [("a", "b"), ("b", "c"), ("c", "d")]


def line(*categories: Category, since: tuple[int, ...] = (0, 0, 0, 0)) -> dict[str, Wait]:
    return waits({n: Standing(c, s) for n, c, s in zip("abcd", categories, since, strict=True)}, LINE)


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ((RUN, RUN, RUN, RUN), {}),
        ((DOWN, IDLE, RUN, RUN), {"b": Wait("starved", "a")}),
        ((DOWN, IDLE, IDLE, RUN), {"b": Wait("starved", "a"), "c": Wait("starved", "a")}),
        ((RUN, IDLE, DOWN, RUN), {"b": Wait("blocked", "c")}),
        ((IDLE, IDLE, SETUP, RUN), {"a": Wait("blocked", "c"), "b": Wait("blocked", "c")}),
        ((RUN, IDLE, RUN, DOWN), {}),
        ((UNKNOWN, IDLE, RUN, RUN), {}),
        ((UNKNOWN, RUN, RUN, RUN), {}),
        ((DOWN, DOWN, RUN, RUN), {}),
    ],
)  # fmt: skip
def test_a_machine_that_waits_has_the_nearest_stop_as_its_cause(
    categories: tuple[Category, ...], expected: dict[str, Wait]
) -> None:
    assert line(*categories) == expected


def test_of_two_causes_the_older_one_counts() -> None:
    assert line(DOWN, IDLE, DOWN, RUN, since=(5, 20, 9, 0))["b"] == Wait("starved", "a")
    assert line(DOWN, IDLE, DOWN, RUN, since=(9, 20, 5, 0))["b"] == Wait("blocked", "c")


def test_the_head_of_a_line_without_work_starves_what_comes_behind_but_not_when_it_waited_later() -> None:
    assert line(IDLE, IDLE, RUN, RUN, since=(5, 9, 0, 0)) == {"b": Wait("starved", "a")}
    assert line(IDLE, IDLE, RUN, RUN, since=(9, 5, 0, 0)) == {}


def test_a_machine_that_two_feed_is_starved_by_either() -> None:
    standings = {"a": Standing(RUN, 0), "b": Standing(DOWN, 1), "c": Standing(IDLE, 2)}
    assert waits(standings, [("a", "c"), ("b", "c")]) == {"c": Wait("starved", "b")}


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from(list(Category)), st.integers(0, 9))),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=20),
)  # fmt: skip
def test_whoever_waits_for_a_cause_is_idle_and_the_cause_is_not_running(
    raw: dict[str, tuple[Category, int]], feeds: list[tuple[str, str]]
) -> None:
    standings = {name: Standing(*each) for name, each in raw.items()}
    for machine, wait in waits(standings, feeds).items():
        assert standings[machine].category is IDLE
        assert standings[wait.cause].category not in (RUN, UNKNOWN)
        assert wait.cause != machine
