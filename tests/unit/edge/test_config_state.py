"""The steps of a configuration from afar, and what each kill leads to."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from millstream.edge._config_state import (
    BOOTS_MAX,
    EVENTS,
    PHASES,
    REPORTS_MAX,
    TABLE,
    Booted,
    Drained,
    Failed,
    Failure,
    Healthy,
    Held,
    Received,
    Returned,
    SiteState,
    Started,
    advance,
    refuse,
    told,
)

OLD, NEW, NEWER = Held(1, "sha256:old"), Held(2, "sha256:new", "ada"), Held(3, "sha256:newer")
BEGIN = SiteState(seen=1, seen_digest=OLD.digest, healthy=OLD)
GOOD: list[Any] = [Received(NEW), Drained(("press",)), Started(), Healthy("file")]
BAD: list[Any] = [Received(NEW), Drained(("press",)), Started(), Failed("MS-2408", "press is waiting"), Returned()]


def run(events: list[Any], state: SiteState = BEGIN) -> SiteState:
    for event in events:
        state = advance(state, event, 7)
    return state


def restarted(state: SiteState) -> SiteState:
    """As the next process finds it: from the disk."""
    return advance(msgspec.json.decode(msgspec.json.encode(state), type=SiteState), Booted(), 8)


def finish(state: SiteState, *, is_well: bool) -> SiteState:
    """What the keeper does from any state on."""
    for _ in range(10):
        if state.phase == "settled":
            return state
        outcome: Any = Healthy("file") if is_well else Failed("MS-2408", "press is waiting")
        steps: dict[str, Any] = {
            "stored": Drained(("press",)), "applying": Started(), "watching": outcome, "rolling_back": Returned(),
        }  # fmt: skip
        state = advance(state, steps[state.phase], 9)
    raise AssertionError(f"does not come to an end: {state}")


def test_a_healthy_configuration_becomes_the_one_to_go_back_to() -> None:
    state = run(GOOD)
    assert (state.phase, state.healthy, state.candidate, state.to_run) == ("settled", NEW, None, NEW)
    assert [(r.number, r.what, r.revision) for r in state.reports] == [
        (1, "received", 2), (2, "applied", 2), (3, "healthy", 2),
    ]  # fmt: skip
    assert state.file_digest == "file"


def test_one_that_is_not_well_is_taken_back_and_not_tried_again() -> None:
    state = run(BAD)
    assert (state.phase, state.healthy, state.seen, state.to_run) == ("settled", OLD, 2, OLD)
    assert state.failure == Failure(2, "MS-2408", "press is waiting", 7, is_rolled_back=True)
    assert [(r.what, r.code) for r in state.reports][-1] == ("rolled_back", "MS-2408")


@pytest.mark.parametrize("at", range(len(GOOD) + 1))
def test_a_kill_at_each_step_of_a_good_one_ends_with_it_healthy(at: int) -> None:
    """Nothing is known of a revision before the first step: the hub is asked again."""
    state = restarted(run(GOOD[:at]))
    assert state.to_run == (OLD if at <= 1 else NEW)  # before all has come to rest, the old one
    ended = finish(state, is_well=True)
    assert (ended.healthy, ended.failure) == (OLD if at == 0 else NEW, None)


@pytest.mark.parametrize("at", range(len(BAD) + 1))
def test_a_kill_at_each_step_of_a_bad_one_ends_with_the_old_one(at: int) -> None:
    state = restarted(run(BAD[:at]))
    assert state.to_run == (NEW if at in (2, 3) else OLD)
    ended = finish(state, is_well=False)
    assert ended.healthy == ended.to_run == OLD
    assert (ended.failure is None) == (at == 0)


@pytest.mark.parametrize(("at", "again"), list(itertools.product(range(1, 5), range(1, 5))))
def test_two_kills_end_in_one_of_two_states(at: int, again: int) -> None:
    for events in (GOOD, BAD):
        state = restarted(run(events[:at]))
        while state.phase not in ("settled", "rolling_back") and again:
            state, again = restarted(state), again - 1
        ended = finish(state, is_well=events is GOOD)
        assert (ended.phase, ended.candidate) == ("settled", None)
        assert ended.healthy in (OLD, NEW)


def test_a_configuration_that_ends_the_node_is_taken_back() -> None:
    state = run(GOOD[:2])
    for _ in range(BOOTS_MAX - 1):
        state = restarted(state)
        assert (state.phase, state.to_run) == ("applying", NEW)
    state = restarted(state)
    assert (state.phase, state.to_run) == ("rolling_back", OLD)
    ended = finish(state, is_well=True)
    assert ended.failure is not None
    assert (ended.healthy, ended.failure.code) == (OLD, "MS-2410")


def test_what_fails_before_anything_was_touched_is_refused_and_not_rolled_back() -> None:
    state = run([Received(NEW), Failed("MS-2411", "does not come to rest")])
    assert (state.phase, state.healthy, state.failure) == (
        "settled", OLD, Failure(2, "MS-2411", "does not come to rest", 7),
    )  # fmt: skip
    assert [r.what for r in state.reports] == ["received", "refused"]


def test_a_newer_one_takes_the_place_of_one_that_was_not_begun() -> None:
    state = run([Received(NEW), Received(NEWER)])
    assert (state.candidate, state.seen) == (NEWER, 3)


def test_a_refusal_is_remembered_with_its_payload() -> None:
    failure = Failure(2, "MS-2400", "unknown key", 7)
    state = refuse(BEGIN, failure, "payload", seen=NEW)
    assert (state.seen, state.refused_payload, state.healthy, state.failure) == (2, "payload", OLD, failure)
    assert refuse(BEGIN, failure, "payload").seen == 1  # of what cannot be read no number is used up


def test_reports_are_told_once_and_bounded() -> None:
    state = BEGIN
    for number in range(REPORTS_MAX + 5):
        state = refuse(state, Failure(2, "MS-2402", "no", 7), str(number))
    assert [state.reports[0].number, state.reports[-1].number, len(state.reports)] == [6, 105, 100]
    state = told(state, 100)
    assert [r.number for r in state.reports] == [101, 102, 103, 104, 105]
    assert told(state, 200).reports == ()


def test_the_table_has_each_phase_and_each_event_and_all_else_cannot_come() -> None:
    assert {phase for phase, _ in TABLE} == set(PHASES)
    assert {event for _, event in TABLE} == set(EVENTS)
    for phase in PHASES:
        assert (phase, Booted) in TABLE, f"a node that starts while {phase} must know what to do"
    with pytest.raises(AssertionError, match="Healthy cannot come while settled"):
        advance(BEGIN, Healthy(), 7)
