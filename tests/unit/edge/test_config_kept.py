"""What is on the disk of a configuration's state, and when: a start finds what the running node would have done."""

from __future__ import annotations

from typing import Any

from millstream.edge._config_kept import KeptState
from millstream.edge._config_state import Booted, Drained, Healthy, Held, Received, SiteState, Started, advance
from millstream.kernel import SystemClock


class _Shelf:
    """What a start would find, and how often it was written."""

    def __init__(self) -> None:
        self.state, self.saves_count = SiteState(), 0

    async def save(self, state: SiteState) -> None:
        self.state, self.saves_count = state, self.saves_count + 1


async def test_a_step_that_changes_nothing_for_a_start_is_written_with_the_next_one_or_before_it_is_told() -> None:
    shelf: Any = _Shelf()
    kept = KeptState(shelf, SystemClock())
    for event in (Received(Held(1, "d")), Drained(())):
        await kept.advance(event)
    await kept.note(Started())
    assert (kept.state.phase, shelf.state.phase, shelf.saves_count) == ("watching", "applying", 2)
    known, found = advance(kept.state, Booted(), 7), advance(shelf.state, Booted(), 7)  # killed now
    assert (known.phase, known.boots, known.to_run) == (found.phase, found.boots, found.to_run)

    await kept.keep()
    await kept.keep()
    assert (shelf.state, shelf.saves_count) == (kept.state, 3)
    await kept.advance(Healthy("file"))
    assert [(report.number, report.what) for report in shelf.state.reports] == [
        (1, "received"), (2, "applied"), (3, "healthy"),
    ]  # fmt: skip
    await kept.cross_off(2)
    assert ([r.number for r in kept.state.reports], shelf.saves_count) == ([3], 4)
    await kept.update(lambda state: state)
    assert shelf.saves_count == 4
