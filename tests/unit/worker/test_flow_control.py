"""Decisions about a flow: which states have to be there so that nothing is said twice."""

from __future__ import annotations

import msgspec
import pytest

from millstream.config import FlowEntry
from millstream.kernel import ConfigError
from millstream.worker._control import FlowControl, declared_control, needed_states, refuse_lost, reset, switched


def entry(version: int = 1, partitions: int = 2, start: str = "beginning") -> FlowEntry:
    return FlowEntry.model_validate(
        {"name": "parts", "python": "/x.py:flow", "version": version, "partitions": partitions, "start": start}
    )


def spoke(control: FlowControl, *partitions: int) -> FlowControl:
    return msgspec.structs.replace(control, spoken=partitions)


def test_a_flow_that_has_said_nothing_needs_nothing() -> None:
    assert needed_states(declared_control(entry(), None)) == []


def test_each_partition_that_spoke_needs_its_state() -> None:
    assert needed_states(spoke(declared_control(entry(), None), 1)) == [(1, 1)]


def test_a_next_version_needs_the_old_one_until_all_its_partitions_have_spoken() -> None:
    first = spoke(declared_control(entry(), None), 0, 1)
    second = declared_control(entry(version=2, partitions=3), first)
    assert (second.version, second.before) == (2, (1, 2))
    assert needed_states(second) == [(1, 0), (1, 1)]
    assert needed_states(spoke(second, 0, 2)) == [(2, 0), (2, 2), (1, 0), (1, 1)]
    assert needed_states(spoke(second, 0, 1, 2)) == [(2, 0), (2, 1), (2, 2)]


def test_a_version_that_was_replaced_before_it_spoke_leaves_the_one_before_it_in_its_place() -> None:
    """Else nobody would know what that one has said, and it would be said again."""
    first = spoke(declared_control(entry(), None), 0, 1)
    third = switched(switched(first, 2, entry(), start="beginning"), 3, entry(), start="beginning")
    assert third.before == (1, 2)
    assert needed_states(third) == [(1, 0), (1, 1)]
    second = spoke(switched(first, 2, entry(), start="beginning"), 0, 1)
    after_second = switched(second, 3, entry(), start="beginning")
    assert after_second.before == (2, 2)


def test_a_version_of_which_only_some_partitions_have_begun_is_not_replaced() -> None:
    first = spoke(declared_control(entry(), None), 0, 1)
    second = spoke(switched(first, 2, entry(), start="beginning"), 1)
    with pytest.raises(ConfigError, match="1 of 2 partitions have begun"):
        switched(second, 3, entry(), start="beginning")
    assert needed_states(reset(second, entry())) == []


def test_a_decision_from_before_this_was_written_down_is_read_as_it_was() -> None:
    old = msgspec.json.decode(b'{"version":4,"declared":2,"before":[3,1]}', type=FlowControl)
    assert old.spoken is None
    assert switched(old, 5, entry(version=2), start="beginning").before == (4, 1)
    assert needed_states(old) == []


def test_what_was_written_down_comes_back() -> None:
    for control in (declared_control(entry(), None), spoke(declared_control(entry(), None), 0)):
        assert msgspec.json.decode(msgspec.json.encode(control), type=FlowControl) == control


def test_a_reset_begins_with_what_is_new_and_looks_for_nothing() -> None:
    first = spoke(declared_control(entry(), None), 0, 1)
    after = reset(first, entry())
    assert (after.version, after.start, after.before, needed_states(after)) == (2, "now", None, [])


@pytest.mark.parametrize(("version", "start", "is_held"), [(1, "now", True), (2, "beginning", True), (2, "now", False)])
def test_a_lost_state_holds_the_flow_unless_the_file_says_to_begin_anew(
    version: int, start: str, is_held: bool
) -> None:
    known = spoke(declared_control(entry(), None), 0)
    declared = entry(version=version, start=start)
    control = declared_control(declared, known)
    if not is_held:
        refuse_lost(declared, control, known)
        return
    with pytest.raises(ConfigError, match="flow reset parts") as raised:
        refuse_lost(declared, control, known)
    assert raised.value.code == "MS-0707"
