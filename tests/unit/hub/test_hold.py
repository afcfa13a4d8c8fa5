"""When the historian waits for edges that catch up, and for how long at most."""

from __future__ import annotations

from millstream.hub._hold import HOLD_MESSAGES, HOLD_NS_MAX, LET_GO_MESSAGES, PAUSE_NS, CatchUpHold
from millstream.kernel import SystemClock


class SetClock(SystemClock):
    """Stands at `ns`."""

    ns = 0

    def monotonic_ns(self) -> int:
        return self.ns


class Site:
    """What the hub has not stored."""

    behind = 0

    def __init__(self) -> None:
        self.clock = SetClock()
        self.hold = CatchUpHold(lambda: self.behind, self.clock)


def test_history_waits_from_a_large_backlog_on_until_it_is_small() -> None:
    site = Site()
    answers = []
    for site.behind in (0, HOLD_MESSAGES - 1, HOLD_MESSAGES, LET_GO_MESSAGES + 1, LET_GO_MESSAGES, HOLD_MESSAGES - 1):
        answers.append(site.hold.is_held())
    assert answers == [False, False, True, True, False, False]


def test_a_backlog_that_does_not_shrink_gives_history_every_other_quarter_of_a_minute() -> None:
    site = Site()
    site.behind = HOLD_MESSAGES
    answers = []
    for site.clock.ns in (0, HOLD_NS_MAX - 1, HOLD_NS_MAX, HOLD_NS_MAX + PAUSE_NS - 1, HOLD_NS_MAX + PAUSE_NS):
        answers.append(site.hold.is_held())
    assert answers == [True, True, False, False, True]
