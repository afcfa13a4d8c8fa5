"""What remains until a limit: intervals that hold as often as they say, and silence where there is no trend."""

from __future__ import annotations

import random

import pytest

from millstream.shop import LifeLine, LifeRules, Remaining
from millstream.sim.wearing import KINDS, LIMIT, Kind, life

STRAIGHT = LifeRules(LIMIT, False, 0.9, 5, 20)


def test_a_straight_line_ends_where_it_meets_its_limit() -> None:
    found = LifeLine(STRAIGHT).remaining([float(n) for n in range(40)], [1 + 0.005 * n for n in range(40)])
    assert isinstance(found, Remaining)
    assert found.mid == pytest.approx(41)
    assert found.low == pytest.approx(41, rel=0.01)
    assert found.high == pytest.approx(41, rel=0.01)


def test_what_falls_towards_its_limit_is_followed_too() -> None:
    found = LifeLine(LifeRules(0.5, False, 0.9, 5, 20)).remaining(
        [float(n) for n in range(40)], [1 - 0.01 * n for n in range(40)]
    )
    assert isinstance(found, Remaining)
    assert found.mid == pytest.approx(11)


def test_equal_shares_in_equal_times_are_a_line_of_logarithms() -> None:
    rules = LifeRules(8.0, True, 0.9, 5, 20)
    found = LifeLine(rules).remaining([float(n) for n in range(21)], [2 ** (n / 10) for n in range(21)])
    assert isinstance(found, Remaining)
    assert found.mid == pytest.approx(10)
    assert LifeLine(rules).remaining([float(n) for n in range(20)], [0.0] * 20) == (
        "an exponential trend needs values above zero"
    )


def test_what_is_over_its_limit_has_nothing_left() -> None:
    found = LifeLine(STRAIGHT).remaining([float(n) for n in range(40)], [1 + 0.02 * n for n in range(40)])
    assert found == Remaining(0.0, 0.0, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_the_end_about_as_often_as_they_say(kind: Kind) -> None:
    """Nine of ten, over lives that get faster too, which no line follows: never far fewer."""
    line, hits, answers, late = LifeLine(STRAIGHT), 0, 0, 0
    for seed in range(5000, 5040):
        one = life(seed, kind)
        for share in (0.4, 0.6, 0.8):
            row = int(len(one.values) * share)
            newest = one.values[max(0, row - 99) : row + 1].tolist()
            found = line.remaining([float(n) for n in range(len(newest))], newest)
            if isinstance(found, Remaining):
                true = len(one.values) - row
                answers += 1
                hits += found.low <= true <= found.high
                late += true < found.low
    assert answers >= 40
    assert hits / answers > 0.85
    assert late / answers < 0.1


def test_noise_without_trend_and_too_few_values_are_told() -> None:
    rng, line = random.Random(1), LifeLine(STRAIGHT)
    assert line.remaining([0.0, 1.0], [1.0, 1.1]) == "2 of 20 values"
    told = [
        line.remaining([float(n) for n in range(60)], [1 + rng.gauss(0, 0.02) for _ in range(60)]) for _ in range(40)
    ]
    assert sum(isinstance(each, Remaining) for each in told) <= 2
    assert line.remaining([float(n) for n in range(60)], [1.0] * 60) == "no trend"


def test_wear_that_slows_down_or_is_too_far_from_its_end_is_told() -> None:
    x, line = [float(n) for n in range(60)], LifeLine(STRAIGHT)
    assert line.remaining(x, [1 + 0.3 * (n / 60) ** 0.3 for n in range(60)]) == "the wear slows down"
    assert line.remaining(x, [1 + 0.0001 * n for n in range(60)]) == (
        "more than 5 times as far ahead as there are values"
    )


def test_a_few_wrong_values_do_not_move_it_far() -> None:
    values = [1 + 0.005 * n for n in range(60)]
    for n in range(5, 60, 10):
        values[n] = 9.0
    found = LifeLine(STRAIGHT).remaining([float(n) for n in range(60)], values)
    assert isinstance(found, Remaining)
    assert found.mid == pytest.approx(21, abs=2)
