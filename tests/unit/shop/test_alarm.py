"""The life of an alarm, against the transitions of ISA-18.2 and against what must hold in any order of events."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.shop import (
    Alarm,
    AlarmRules,
    AlarmState,
    Flood,
    FloodRules,
    NotNow,
    acknowledge,
    count_alarm,
    observe,
    pass_flood_time,
    pass_time,
    reset,
    serve,
    shelve,
    suppress,
    unshelve,
)

S = 10**9
PLAIN = AlarmRules()


def moved(alarm: Alarm, rules: AlarmRules, *steps: tuple[str, object]) -> tuple[Alarm, list[str]]:
    """Apply steps a second apart; the alarm and what happened."""
    happened: list[str] = []
    for second, (what, value) in enumerate(steps, 1):
        at = second * S
        if what == "holds":
            alarm, changes = observe(alarm, rules, holds=bool(value), time_ns=at)
        elif what == "time":
            alarm, changes = pass_time(alarm, rules, int(value) * S)  # type: ignore[call-overload]
        elif what == "shelve":
            alarm, changes = shelve(alarm, rules, at, int(value) * S)  # type: ignore[call-overload]
        elif what == "suppress":
            alarm, changes = suppress(alarm, rules, at, on=bool(value))
        elif what == "serve":
            alarm, changes = serve(alarm, rules, at, on=bool(value))
        else:
            alarm, changes = {"ack": acknowledge, "reset": reset, "unshelve": unshelve}[what](alarm, rules, at)
        happened += [change for change, _ in changes]
    return alarm, happened


ON, OFF, ACK = ("holds", True), ("holds", False), ("ack", None)


@pytest.mark.parametrize(
    ("steps", "state", "happened"),
    [
        ([ON], "unacknowledged", ["raised"]),
        ([ON, ON], "unacknowledged", ["raised"]),
        ([ON, ACK], "acknowledged", ["raised", "acknowledged"]),
        ([ON, ACK, OFF], "normal", ["raised", "acknowledged", "cleared"]),
        ([ON, OFF], "returned", ["raised", "returned"]),
        ([ON, OFF, ACK], "normal", ["raised", "returned", "acknowledged", "cleared"]),
        ([ON, OFF, ON], "unacknowledged", ["raised", "returned", "raised"]),
        ([ON, ("shelve", 90)], "shelved", ["raised", "shelved"]),
        ([ON, ACK, ("shelve", 90), ("unshelve", None)], "unacknowledged",
         ["raised", "acknowledged", "shelved", "unshelved", "raised"]),
        ([ON, ("shelve", 90), OFF, ("time", 90)], "normal", ["raised", "shelved", "unshelved"]),
        ([("shelve", 90), ON, ("time", 89)], "shelved", ["shelved"]),
        ([("shelve", 90), ON, ("time", 90)], "unacknowledged", ["shelved", "unshelved", "raised"]),
        ([("suppress", True), ON, ("suppress", False)], "unacknowledged", ["suppressed", "unsuppressed", "raised"]),
        ([("suppress", True), ON, OFF, ("suppress", False)], "normal", ["suppressed", "unsuppressed"]),
        ([ON, ("serve", False), OFF, ("serve", True)], "normal", ["raised", "removed", "restored"]),
        ([("serve", False), ("suppress", True), ON, ("serve", True)], "suppressed",
         ["removed", "suppressed", "restored"]),
    ],
)  # fmt: skip
def test_an_alarm_goes_the_ways_of_the_standard(
    steps: list[tuple[str, object]], state: str, happened: list[str]
) -> None:
    alarm, found = moved(Alarm(), PLAIN, *steps)
    assert (alarm.state.value, found) == (state, happened)


def test_a_latching_alarm_stays_until_it_is_acknowledged_and_reset() -> None:
    rules = AlarmRules(is_latching=True)
    alarm, _ = moved(Alarm(), rules, ON, OFF)
    assert alarm.state is AlarmState.LATCHED
    with pytest.raises(NotNow, match="acknowledged is reset"):
        reset(alarm, rules, 9 * S)
    alarm, changes = acknowledge(alarm, rules, 9 * S)
    assert (alarm.state, [c for c, _ in changes]) == (AlarmState.LATCHED_ACKNOWLEDGED, ["acknowledged"])
    kept, _ = unshelve(shelve(alarm, rules, 10 * S, 90 * S)[0], rules, 11 * S)
    assert kept.state is AlarmState.LATCHED, "a shelf is no way around a reset"
    alarm, changes = reset(alarm, rules, 10 * S)
    assert (alarm.state, [c for c, _ in changes]) == (AlarmState.NORMAL, ["reset", "cleared"])


def test_an_alarm_that_nobody_has_to_acknowledge_clears_by_itself() -> None:
    alarm, happened = moved(Alarm(), AlarmRules(needs_acknowledge=False), ON, OFF)
    assert (alarm.state, happened) == (AlarmState.NORMAL, ["raised", "cleared"])
    with pytest.raises(NotNow):
        acknowledge(alarm, PLAIN, 1)


def test_delays_hold_back_what_is_too_short_and_count_from_the_beginning() -> None:
    rules = AlarmRules(on_ns=10 * S, off_ns=5 * S)
    alarm, changes = observe(Alarm(), rules, holds=True, time_ns=100 * S)
    assert (changes, alarm.due_ns(rules)) == ([], 110 * S)
    gone, changes = observe(alarm, rules, holds=False, time_ns=109 * S)
    assert (gone, changes) == (Alarm(wants_ns=100 * S), [])
    alarm, changes = pass_time(alarm, rules, 130 * S)
    assert (changes, alarm.since_ns) == ([("raised", 110 * S)], 100 * S)
    alarm, _ = observe(alarm, rules, holds=False, time_ns=131 * S)
    alarm, changes = observe(alarm, rules, holds=True, time_ns=135 * S)
    assert (changes, alarm.state) == ([], AlarmState.UNACKNOWLEDGED), "back within the off-delay: never gone"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("on", "off", "ack", "reset", "shelve", "unshelve", "hide", "show", "out", "in", "wait")),
        st.integers(0, 20),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(0, 8), st.integers(0, 8), st.booleans(), st.booleans())
def test_what_must_hold_of_every_alarm(
    steps: list[tuple[str, int]], on: int, off: int, is_latching: bool, needs_acknowledge: bool
) -> None:
    rules = AlarmRules(on * S, off * S, is_latching, needs_acknowledge)
    alarm, at = Alarm(), S
    for what, seconds in steps:
        at += seconds * S
        before = alarm
        try:
            alarm, changes = {
                "on": lambda: observe(alarm, rules, holds=True, time_ns=at),  # noqa: B023 - called at once
                "off": lambda: observe(alarm, rules, holds=False, time_ns=at),  # noqa: B023
                "ack": lambda: acknowledge(alarm, rules, at),  # noqa: B023
                "reset": lambda: reset(alarm, rules, at),  # noqa: B023
                "shelve": lambda: shelve(alarm, rules, at, at + 15 * S),  # noqa: B023
                "unshelve": lambda: unshelve(alarm, rules, at),  # noqa: B023
                "hide": lambda: suppress(alarm, rules, at, on=True),  # noqa: B023
                "show": lambda: suppress(alarm, rules, at, on=False),  # noqa: B023
                "out": lambda: serve(alarm, rules, at, on=False),  # noqa: B023
                "in": lambda: serve(alarm, rules, at, on=True),  # noqa: B023
                "wait": lambda: pass_time(alarm, rules, at),  # noqa: B023
            }[what]()
        except NotNow:
            assert alarm == before
            continue
        if before.is_latched and what != "reset":
            assert alarm.is_latched, "only a reset ends what latches"
        if alarm.is_silent and before.is_silent:
            assert not {"raised", "returned", "cleared"} & {change for change, _ in changes}, "nobody is told"
        if alarm.state is AlarmState.NORMAL:
            assert (alarm.holds, alarm.is_acknowledged, alarm.is_latched) == (False, True, False)
        if not needs_acknowledge:
            assert alarm.state not in (AlarmState.UNACKNOWLEDGED, AlarmState.RETURNED)
        if before.state is AlarmState.UNACKNOWLEDGED and alarm.state is AlarmState.NORMAL:
            raise AssertionError("an alarm went away that nobody has acknowledged")
        later, _ = pass_time(alarm, rules, at)
        assert later.due_ns(rules) is None or (later.due_ns(rules) or 0) > at or later == alarm
        same, again = pass_time(later, rules, at)
        assert (same, again) == (later, []), "time that has passed passes once"


def test_a_flood_begins_with_the_eleventh_alarm_in_ten_minutes_and_ends_with_fewer_than_five() -> None:
    rules, flood, said = FloodRules(), Flood(), []
    for n in range(1, 12):
        flood, what = count_alarm(flood, rules, n * 30 * S)
        said.append(what)
    assert said == [None] * 10 + ["began"]
    assert (flood.since_ns, flood.total, flood.peak) == (30 * S, 11, 11)
    due = flood.due_ns(rules)
    assert due == (7 * 30 + 600) * S, "when the seventh of eleven leaves, four are left"
    flood, what = pass_flood_time(flood, rules, due - 1)
    assert what is None
    flood, what = pass_flood_time(flood, rules, due)
    assert (what, flood.due_ns(rules)) == ("ended", None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=80))
def test_floods_begin_and_end_in_turn(gaps: list[int]) -> None:
    rules, flood, at, is_on = FloodRules(100 * S, 5, 3), Flood(), 1, False
    for gap in [*gaps, 1000]:
        at += gap * S
        for step in (pass_flood_time, count_alarm):
            due = flood.due_ns(rules)
            if step is pass_flood_time and (due is None or due > at):
                continue
            flood, what = step(flood, rules, at)
            if what is not None:
                assert is_on == (what == "ended")
                is_on = not is_on
