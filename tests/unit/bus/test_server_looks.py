"""How often a server is looked after."""

from __future__ import annotations

from millstream.bus._server_looks import (
    LOOK_INTERVAL_S,
    WELL_HEALTH_LOOKS,
    WELL_INTERVAL_S,
    WELL_LOOKS,
    Looks,
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
