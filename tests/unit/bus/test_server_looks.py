"""How often a server is looked after."""

from __future__ import annotations

from millstream.bus._server_looks import (
    HEALTH_FAILURES_ALARM,
    HEALTH_FAILURES_MAX,
    LOOK_INTERVAL_S,
    WELL_HEALTH_LOOKS,
    WELL_INTERVAL_S,
    WELL_LOOKS,
    HealthJudge,
    Looks,
    Verdict,
)


def _look(looks: Looks, *, is_well: bool = True) -> tuple[float, bool]:
    found = looks.interval_s, looks.is_due()
    looks.note(is_well=is_well)
    return found


def test_one_that_was_well_for_long_is_asked_less_often_until_it_is_doubted_or_ails() -> None:
    looks = Looks()
    assert {_look(looks) for _ in range(WELL_LOOKS + 1)} == {(LOOK_INTERVAL_S, True)}
    calm = [_look(looks) for _ in range(3 * WELL_HEALTH_LOOKS)]
    assert {interval_s for interval_s, _ in calm} == {WELL_INTERVAL_S}
    assert sum(is_due for _, is_due in calm) == 3
    assert looks.doubt()
    assert not looks.doubt()
    assert {_look(looks) for _ in range(WELL_LOOKS)} == {(LOOK_INTERVAL_S, True)}
    assert _look(looks)[0] == WELL_INTERVAL_S
    _look(looks, is_well=False)
    assert {_look(looks) for _ in range(WELL_LOOKS)} == {(LOOK_INTERVAL_S, True)}


def test_people_are_told_of_one_that_stays_ill_before_it_is_restarted_and_a_full_disk_is_no_reason() -> None:
    judge = HealthJudge()
    assert judge.judge(None, is_full=False) == Verdict(alarm="")
    full = [judge.judge("no space", is_full=True) for _ in range(2 * HEALTH_FAILURES_MAX)]
    assert set(full) == {Verdict()}
    assert judge.judge("no space", is_full=False) == Verdict("the disk has room again")
    judge = HealthJudge()
    told = [judge.judge("hangs", is_full=False) for _ in range(HEALTH_FAILURES_MAX)]
    assert [verdict.alarm for verdict in told].count(None) == HEALTH_FAILURES_ALARM - 1
    assert [verdict.restart for verdict in told] == [None] * (HEALTH_FAILURES_MAX - 1) + ["unhealthy: hangs"]
    assert judge.judge(None, is_full=False) == Verdict(alarm="")
    assert judge.judge("hangs", is_full=False) == Verdict()
