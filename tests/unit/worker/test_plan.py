"""Who has which partition: pure, the same for everyone, and at rest when nothing changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millstream.worker._plan import LiveView, partitions_to_take, plan_partitions

SECOND = 1_000_000_000
HELD = st.dictionaries(st.sampled_from("abcdef"), st.sets(st.integers(0, 15)), min_size=1)


@given(st.integers(1, 16), HELD)
def test_every_partition_has_one_instance_and_the_load_is_even(count: int, held: dict[str, set[int]]) -> None:
    plan = plan_partitions(count, held)
    assert sorted(p for own in plan.values() for p in own) == list(range(count))
    sizes = [len(own) for own in plan.values()]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 16), HELD)
def test_what_was_planned_stays(count: int, held: dict[str, set[int]]) -> None:
    plan = plan_partitions(count, held)
    assert plan_partitions(count, plan) == plan


def test_a_newcomer_takes_only_its_share() -> None:
    assert plan_partitions(4, {"a": [0, 1, 2, 3], "b": []}) == {"a": [0, 1], "b": [2, 3]}


def test_an_instance_that_goes_leaves_the_others_what_they_have() -> None:
    assert plan_partitions(4, {"a": [0, 1], "c": [3]}) == {"a": [0, 1], "c": [2, 3]}


def test_what_another_has_is_not_taken_before_it_lets_go() -> None:
    live = {"a": (1, (0, 1))}
    assert partitions_to_take("b", 1, 2, live, ()) == []
    assert partitions_to_take("b", 1, 2, {"a": (1, (0,))}, ()) == [1]


def test_instances_of_another_version_do_not_count() -> None:
    assert partitions_to_take("b", 2, 2, {"a": (1, (0, 1))}, ()) == [0, 1]


def test_a_repeated_beat_is_no_sign_of_life() -> None:
    view = LiveView(3 * SECOND)
    view.heard("a", 1, 1, [0], 0)
    view.heard("a", 1, 1, [0], 2 * SECOND)
    assert view.live(4 * SECOND) == {}
    view.heard("a", 2, 1, [0], 5 * SECOND)
    assert view.live(6 * SECOND) == {"a": (1, (0,))}
