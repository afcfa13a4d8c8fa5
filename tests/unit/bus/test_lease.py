"""Who of a cluster's members does the work."""

from __future__ import annotations

import pytest

from millstream.bus._lease import HOLD_S, TAKE_GONE_S, TAKE_S, Held, LeaseRecord, is_free, is_late, look

S = 10**9
HELD = LeaseRecord("a", "n1", 1)


def test_nobody_else_begins_before_the_holder_has_stopped() -> None:
    assert HOLD_S < TAKE_S


@pytest.mark.parametrize(
    ("record", "age_s", "is_gone", "free"),
    [
        (HELD, 0, False, False),
        (HELD, TAKE_S - 0.1, False, False),  # it may only be slow
        (HELD, TAKE_S, False, True),
        (HELD, TAKE_GONE_S - 0.1, True, False),  # it may just have begun, and not listen yet
        (HELD, TAKE_GONE_S, True, True),
        (LeaseRecord("a", "n1", 1, is_released=True), 0, False, True),
    ],
)
def test_a_lease_is_free_once_its_holder_can_not_have_it_any_more(
    record: LeaseRecord, age_s: float, is_gone: bool, free: bool
) -> None:
    assert is_free(Held(record, 7, 100 * S), int((100 + age_s) * S), is_gone=is_gone) is free


def test_what_nobody_has_taken_is_free() -> None:
    assert is_free(None, 0)
    assert not is_late(None, 0)


def test_each_renewal_counts_from_when_this_member_saw_it() -> None:
    seen = look(None, (HELD, 7), 10 * S)
    assert seen is not None
    assert look(seen, (HELD, 7), 15 * S) is seen
    renewed = look(seen, (HELD, 8), 15 * S)
    assert renewed == Held(HELD, 8, 15 * S)
    assert look(renewed, None, 16 * S) is None


def test_a_holder_is_asked_for_only_after_some_missed_renewals() -> None:
    seen = Held(HELD, 7, 0)
    assert not is_late(seen, 1 * S)
    assert is_late(seen, int(TAKE_GONE_S * S))
