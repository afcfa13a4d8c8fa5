"""Time elements and key figures: a shift by hand, what is not known, stops over borders, and sources that disagree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.shop import CATEGORIES, Category, Made, figures

MIN = 60 * 10**9


def of(minutes: dict[Category, int]) -> dict[Category, int]:
    return {category: minutes.get(category, 0) * MIN for category in Category}


def test_a_shift_by_hand() -> None:
    """480 min, of which 60 planned: 420 busy, 300 productive; 270 parts at 1 min, 13.5 of them rejected."""
    states = [
        (0, "Setup"), (30 * MIN, "Execute"), (130 * MIN, "Held"), (131 * MIN, "Execute"), (231 * MIN, "Aborted"),
        (250 * MIN, "Stopped"), (270 * MIN, "Maintenance"), (330 * MIN, "Execute"), (430 * MIN, "Idle"),
    ]  # fmt: skip
    made = Made(270, 13.5, 270 * MIN)
    found = figures(states, [(0, 480 * MIN)], made, (0, 480 * MIN), small_stop_ns=5 * MIN)
    assert found.spent_ns == of(
        {Category.SETUP: 30, Category.PRODUCTION: 300, Category.DELAY: 1, Category.DOWN: 39, Category.PLANNED: 60,
         Category.IDLE: 50}
    )  # fmt: skip
    assert (found.known, found.busy_ns, found.failures, found.small_stops) == (1.0, 420 * MIN, 1, 1)
    assert found.availability == pytest.approx(300 / 420)
    assert found.performance == pytest.approx(0.9)
    assert found.quality == pytest.approx(0.95)
    assert found.oee == pytest.approx(300 / 420 * 0.9 * 0.95)
    assert found.teep == pytest.approx(270 * 0.95 / 480)
    assert (found.mttr_ns, found.mtbf_ns) == (39 * MIN, 300 * MIN)
    assert found.losses_ns() == {
        "failures": 39 * MIN, "setup": 30 * MIN, "idling": 50 * MIN, "small_stops": 1 * MIN, "speed": 30 * MIN,
        "rejects": pytest.approx(13.5 * MIN),
    }  # fmt: skip
    lost = sum(found.losses_ns().values())
    assert found.oee == pytest.approx(1 - lost / found.busy_ns), "the losses explain the figure"
    assert found.doubts() == []


def test_what_is_not_known_is_neither_downtime_nor_production() -> None:
    states = [(60 * MIN, "ACTIVE"), (120 * MIN, "UNAVAILABLE"), (180 * MIN, "ACTIVE")]
    found = figures(states, [(0, 480 * MIN)], Made(), (0, 480 * MIN), until_ns=240 * MIN)
    assert found.spent_ns == of({Category.UNKNOWN: 360, Category.PRODUCTION: 120})
    assert (found.known, found.availability) == (0.25, 1.0)
    nothing = figures([], [(0, 480 * MIN)], Made(), (0, 480 * MIN))
    assert (nothing.known, nothing.oee, nothing.availability, nothing.teep) == (0.0, None, None, None)


def test_a_stop_over_the_border_of_two_windows_is_judged_as_a_whole() -> None:
    states = [(0, "Execute"), (59 * MIN, "Held"), (70 * MIN, "Execute"), (100 * MIN, "Down"), (130 * MIN, "Execute")]
    first, second = (
        figures(states, [span], Made(), span, small_stop_ns=5 * MIN) for span in ((0, 60 * MIN), (60 * MIN, 120 * MIN))
    )
    assert (first.small_stops, second.small_stops) == (0, 0)
    third = figures(states, [(120 * MIN, 180 * MIN)], Made(), (120 * MIN, 180 * MIN))
    assert (second.failures, third.failures) == (1, 0), "it counts where it begins"
    assert third.spent_ns[Category.DOWN] == 10 * MIN


def test_sources_that_disagree_are_told() -> None:
    states = [(0, "Execute")]
    span = (0, 60 * MIN)
    assert figures(states, [span], Made(), span).doubts() == ["it was producing, and no part was counted"]
    assert figures(states, [span], Made(70, 0, 70 * MIN), span).doubts() == ["it was faster than its ideal cycle"]
    assert figures(states, [span], Made(1, 2, MIN), span).doubts() == ["more parts were rejected than made"]
    for state in ("Stopped", "Idle", "Planned"):
        found = figures([(0, state)], [span], Made(50, 0, 50 * MIN), span)
        assert found.doubts() == ["parts were counted, and it was never producing"], state
    assert figures([], [span], Made(50, 0, 50 * MIN), span).doubts() == [], "nobody knows what it did"
    assert figures(states, [span], Made(), span).oee == 0.0


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.sampled_from([*CATEGORIES, "new"])), max_size=20),
    st.lists(st.integers(0, 1000), min_size=2, max_size=8, unique=True), st.none() | st.integers(0, 1000),
)  # fmt: skip
def test_every_planned_moment_belongs_to_one_category(
    raw: list[tuple[int, str]], borders: list[int], until: int | None
) -> None:
    states = sorted(dict(raw).items())
    edges = sorted(borders)[: len(borders) // 2 * 2]
    planned = list(zip(edges[::2], edges[1::2], strict=True))
    found = figures(states, planned, Made(), (0, 1000), small_stop_ns=50, until_ns=until)
    assert sum(found.spent_ns.values()) == found.planned_ns == sum(b - a for a, b in planned)
    assert sum(found.states_ns.values()) == found.planned_ns
    expected = dict.fromkeys(Category, 0)
    for start, end in planned:
        for moment in range(start, end):
            state = next((s for t, s in reversed(states) if t <= moment), "")
            is_known = until is None or moment < until
            expected[CATEGORIES.get(state, Category.UNKNOWN) if is_known else Category.UNKNOWN] += 1
    assert found.spent_ns == expected
