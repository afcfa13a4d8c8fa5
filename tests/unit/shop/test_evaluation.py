"""Scores of detectors after the Numenta Anomaly Benchmark, and events in plain counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.shop import PROFILES, Labelled, best_threshold, count_events, score

S = 10**9
STANDARD, FEW_FALSE, FEW_MISSED = PROFILES


def series(rows: int, *windows: tuple[int, int]) -> Labelled:
    """A row a second; windows by their first and last row."""
    return Labelled("s", [row * S for row in range(rows)], [(first * S, last * S) for first, last in windows])


def scored(made: Labelled, *rows: int) -> float:
    found = score([(made, rows)], STANDARD)
    assert found is not None
    return found


HUNDRED = series(100, (40, 49))


def test_silence_is_nothing_and_the_first_row_of_each_window_is_all() -> None:
    two = series(100, (40, 49), (70, 79))
    assert score([(two, ())], STANDARD) == 0
    assert score([(two, (40, 70))], STANDARD) == pytest.approx(100)
    assert score([(two, (40,))], STANDARD) == pytest.approx(50)
    assert score([(series(100), (1, 2, 50))], STANDARD) is None


def test_a_detection_is_worth_what_the_paper_says_of_its_place() -> None:
    # 2 / (1 + e^(5y)) - 1, y from -1 at the first of ten rows to -0.1 at the last, measured against the first
    at_front = 2 / (1 + math.exp(-5)) - 1
    for row, position in ((40, -1.0), (44, -0.6), (49, -0.1)):
        worth = (2 / (1 + math.exp(5 * position)) - 1) / at_front
        assert scored(HUNDRED, row) == pytest.approx(100 * (worth + 1) / 2)
    # a false one costs 0.11, at once before any window, behind one the more the further: full from three widths on
    false = 100 / 2
    assert scored(HUNDRED, 40, 20) == pytest.approx(100 - 0.11 * false)
    assert scored(HUNDRED, 40, 50) == pytest.approx(100 + 0.11 * false * (2 / (1 + math.exp(5 / 9)) - 1))
    assert scored(HUNDRED, 40, 90) == pytest.approx(100 - 0.11 * false)


def test_profiles_weigh_false_alarms_and_misses() -> None:
    bad = [(HUNDRED, (20, 30))]
    assert score(bad, FEW_FALSE) == pytest.approx(2 * (score(bad, STANDARD) or 0))
    late = [(HUNDRED, (49,))]
    assert (score(late, FEW_MISSED) or 0) > (score(late, STANDARD) or 0)


def test_the_first_rows_do_not_count() -> None:
    assert HUNDRED.probation_rows == 15
    assert scored(HUNDRED, *range(15)) == 0
    assert scored(HUNDRED, 15) < 0
    assert series(50_000).probation_rows == 750
    assert count_events([(HUNDRED, (3, 4, 5))]).false_alarms == 0


@given(st.sets(st.integers(15, 99), max_size=30), st.integers(15, 99))
def test_a_false_alarm_more_never_helps_and_an_earlier_find_never_hurts(rows: set[int], more: int) -> None:
    before, after = scored(HUNDRED, *rows), scored(HUNDRED, *rows, more)
    if 40 <= more <= 49:
        assert after >= before - 1e-9
    else:
        assert after <= before + 1e-9
    assert before == pytest.approx(scored(HUNDRED, *sorted(rows, reverse=True)))


def test_events_are_counted_as_people_count_them() -> None:
    two = series(200, (100, 109), (150, 159))
    found = count_events([(two, (60, 61, 62, 70, 103, 104, 110, 180))])
    assert (found.windows, found.found, found.false_alarms) == (2, 1, 4)
    assert (found.precision, found.recall, found.delay_s) == (0.2, 0.5, 3.0)
    nothing = count_events([(series(100), ())])
    assert (nothing.precision, nothing.recall, nothing.delay_s) == (None, None, None)


def test_the_best_threshold_is_found_afterwards() -> None:
    values: Sequence[float] = [0.6 if row in (20, 60) else 0.8 if row == 40 else 0.1 for row in range(100)]
    assert best_threshold([(HUNDRED, values)], STANDARD) == (0.8, pytest.approx(100))
    assert best_threshold([(series(100), values)], STANDARD) is None


@pytest.mark.parametrize(
    ("windows", "wrong"),
    [
        (((2, 9),), "within the first 15 rows"),
        (((40, 49), (45, 60)), "overlap"),
        (((70, 79), (40, 49)), "overlap"),
        (((200, 300),), "without a row"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(windows: tuple[tuple[int, int], ...], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        series(100, *windows)


def test_a_clock_that_is_set_back_keeps_the_order_of_rows() -> None:
    times = [*range(50), *range(40, 90)]
    made = Labelled("s", [second * S for second in times], [(60 * S, 69 * S)])
    assert made.spans() == [(70, 79)]
    assert made.row_of(45 * S) == 45
    assert made.row_of(49 * S) == 59, "the last of those that came while the clock was behind"
