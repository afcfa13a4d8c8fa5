"""Guesses are counted by user and by address, in bounded memory."""

from __future__ import annotations

from millstream.login import Attempts
from millstream.login._attempts import (
    ADDRESS_TRIES,
    ENTRIES_COUNT_MAX,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    USER_TRIES,
    group_of,
)


def test_a_user_waits_after_some_attempts_longer_each_time_and_no_longer_than_the_longest() -> None:
    attempts, now, waits = Attempts(), 0.0, []
    for _ in range(USER_TRIES - 1):
        assert attempts.take("acme", "ann", "10.0.0.1", now).locks == ""
    for _ in range(8):
        assert attempts.take("acme", "ann", "10.0.0.2", now).locks == "user"
        verdict = attempts.take("acme", "ann", "10.0.0.3", now)
        assert verdict.wait_s > 0
        waits.append(verdict.wait_s)
        now += verdict.wait_s
    assert waits[:3] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert waits[-1] == LONGEST_WAIT_S


def test_attempts_that_run_at_the_same_time_are_counted_before_any_is_looked_at() -> None:
    attempts = Attempts()
    verdicts = [attempts.take("acme", "ann", "10.0.0.1", 0.0) for _ in range(100)]
    assert sum(verdict.wait_s == 0 for verdict in verdicts) == USER_TRIES


def test_a_right_password_clears_its_user_and_one_attempt_of_its_address() -> None:
    attempts = Attempts()
    for number in range(ADDRESS_TRIES * 3):  # an office of many
        assert attempts.take("acme", f"user{number}", "10.0.0.1", 0.0).wait_s == 0
        attempts.forgive("acme", f"user{number}", "10.0.0.1")
    for number in range(ADDRESS_TRIES):  # one known password between guesses of others
        assert attempts.take("acme", "own", "10.0.0.1", 0.0).wait_s == 0
        attempts.forgive("acme", "own", "10.0.0.1")
        attempts.take("acme", f"guess{number}", "10.0.0.1", 0.0)
    assert attempts.take("acme", "own", "10.0.0.1", 0.0).wait_s > 0


def test_names_that_nobody_has_do_not_wash_a_locked_user_out_of_memory() -> None:
    attempts = Attempts()
    for _ in range(USER_TRIES):
        attempts.take("acme", "ann", "10.0.0.1", 0.0)
    for number in range(ENTRIES_COUNT_MAX):
        attempts.take("acme", f"x{number}", f"2001:db8:{number:x}::1", 1.0)
    assert len(attempts) <= ENTRIES_COUNT_MAX
    assert attempts.take("acme", "ann", "10.9.9.9", 2.0).wait_s > 0


def test_one_subscriber_of_ipv6_is_one_address() -> None:
    assert group_of("2001:db8:1:2::1") == group_of("2001:db8:1:2:ffff::9")
    assert group_of("2001:db8:1:3::1") != group_of("2001:db8:1:2::1")
    assert group_of("10.0.0.1") != group_of("10.0.0.2")
    assert group_of("no address" * 50) == ("no address" * 50)[:64]
