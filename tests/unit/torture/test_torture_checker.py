"""The checker sees every kind of fault; each control must fail, and only the truth passes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.sim.producer_ledger import MachineTruth, Part
from millstream.torture._checker import Account, Output, check_gaps, check_outputs, check_parts, check_tail

NUMBERS = st.integers(2, 40)


def truth_of(count: int, *, acked: int | None = None, sends: int = 1) -> MachineTruth:
    made = [Part(n, 1_000 * n, n / 7) for n in range(1, count + 1)]
    last = count if acked is None else acked
    return MachineTruth(made, set(range(1, last + 1)), dict.fromkeys(range(1, count + 1), sends))


def stored(truth: MachineTruth, upto: int | None = None) -> tuple[list[Output], list[Output]]:
    parts = truth.made[:upto]
    return [Output(p.n, p.time_ns) for p in parts], [Output(p.grams, p.time_ns) for p in parts]


def check(truth: MachineTruth, numbers: list[Output], weights: list[Output], *, allow_resends: bool = False) -> Account:
    return check_parts("sink", truth, numbers, weights, allow_resends=allow_resends)


@given(NUMBERS)
def test_the_truth_itself_is_equal(count: int) -> None:
    truth = truth_of(count)
    assert check(truth, *stored(truth)).is_equal


@given(NUMBERS, st.data())
def test_an_attempt_that_was_not_acknowledged_may_be_there_or_not(count: int, data: st.DataObject) -> None:
    truth = truth_of(count, acked=data.draw(st.integers(0, count)))
    assert check(truth, *stored(truth, data.draw(st.integers(len(truth.acked), count)))).is_equal


def lose(rows: list[Output], index: int) -> list[Output]:
    return rows[:index] + rows[index + 1 :]


def double(rows: list[Output], index: int) -> list[Output]:
    return [*rows[: index + 1], *rows[index:]]


def swap(rows: list[Output], index: int) -> list[Output]:
    other = (index + 1) % len(rows)
    rows = list(rows)
    rows[index], rows[other] = rows[other], rows[index]
    return rows


def invent(rows: list[Output], index: int) -> list[Output]:
    return [*rows[:index], Output(10**6, 1), *rows[index:]]


@pytest.mark.parametrize("harm", [lose, double, swap, invent])
@given(count=NUMBERS, chance=st.randoms(use_true_random=False))
def test_a_harmed_sink_is_never_equal(
    harm: Callable[[list[Output], int], list[Output]], count: int, chance: random.Random
) -> None:
    truth = truth_of(count)
    numbers, weights = stored(truth)
    index = chance.randrange(count)
    assert not check(truth, harm(numbers, index), harm(weights, index)).is_equal


@given(count=NUMBERS, chance=st.randoms(use_true_random=False))
def test_a_changed_weight_or_time_is_seen(count: int, chance: random.Random) -> None:
    truth = truth_of(count)
    numbers, weights = stored(truth)
    index = chance.randrange(count)
    weights[index] = Output(-1.0, weights[index].time_ns)
    assert check(truth, numbers, weights).wrong
    numbers, weights = stored(truth)
    numbers[index] = Output(numbers[index].value, 1)
    assert check(truth, numbers, weights).wrong


def test_a_loss_and_a_repeat_do_not_cancel_out() -> None:
    truth = truth_of(3)
    numbers, weights = stored(truth)
    account = check(truth, [numbers[0], numbers[0], numbers[2]], [weights[0], weights[0], weights[2]])
    assert (account.lost, account.duplicated) == (1, 1)


def test_a_part_may_stand_as_often_as_its_device_sent_it_and_not_more() -> None:
    truth = truth_of(3, sends=2)
    numbers, weights = stored(truth)
    assert check(truth, numbers * 2, weights * 2, allow_resends=True).is_equal
    assert check(truth, numbers * 3, weights * 3, allow_resends=True).duplicated == 3
    assert check(truth, numbers * 2, weights * 2).duplicated == 3


def test_a_sink_that_does_not_even_hold_numbers_is_told() -> None:
    account = check(truth_of(1), [Output("one", 1_000), Output(True, 1_000), Output(1.0, 1_000)], [])
    assert account.lost == 1
    assert account.invented == 3


@given(st.lists(st.tuples(st.integers(), st.integers()), max_size=8), st.lists(st.tuples(st.integers(), st.integers())))
def test_outputs_are_equal_only_when_they_are_the_same_in_the_same_order(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    a, b = [Output(*x) for x in one], [Output(*x) for x in other]
    assert check_outputs("flow", a, list(a)).is_equal
    assert check_outputs("flow", a, b).is_equal == (a == b)


def test_a_count_that_comes_twice_is_a_duplicate_and_a_missing_one_a_loss() -> None:
    expected = [Output(n, n) for n in (1, 2, 3)]
    account = check_outputs("flow", expected, [expected[0], expected[1], expected[1]])
    assert (account.lost, account.duplicated, account.invented) == (1, 1, 0)


def test_what_the_edge_holds_must_be_the_end_of_what_the_hub_holds() -> None:
    rows = [Output(n, n) for n in range(5)]
    assert check_tail("hub", rows, rows[3:]).is_equal
    assert check_tail("hub", rows, []).is_equal
    assert not check_tail("hub", rows, rows[2:4]).is_equal
    assert check_tail("hub", rows[:2], rows).lost == 3


def test_each_hole_of_a_source_that_cannot_rewind_must_be_marked() -> None:
    assert check_gaps("s", 4, [1, 2, 3, 4]) == (Account("s", 4, 4), 0)
    account, gaps = check_gaps("s", 6, [1, 2, None, 5, 6])
    assert (account.is_equal, gaps) == (True, 2)
    account, gaps = check_gaps("s", 6, [1, 2, 5, 6])
    assert (account.lost, gaps) == (2, 2)
    assert check_gaps("s", 6, [1, 2, 5, None])[0].lost == 2
    assert check_gaps("s", 3, [1, 2, 2, 3])[0].duplicated == 1
    assert check_gaps("s", 2, [1, 2, 3])[0].invented == 1
    assert check_gaps("s", 3, [1])[0].lost == 2
    assert check_gaps("s", 3, [1, None]) == (Account("s", 3, 1), 2)
    assert check_gaps("s", 2, [1.0, 2.0]) == (Account("s", 2, 2), 0)
    assert check_gaps("s", 2, [1, "2"])[0].invented == 1  # what is no number is no mark
