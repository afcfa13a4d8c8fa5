"""A sequence of things that must happen one after the other, within a time.

    cycle = Sequenced((is_clamped, is_started, is_done), within_ns=5 * SECOND_NS)

Events are taken in their order; wrap the flow with `in_order` where they may come out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from millstream.flow._model import CancelTimer, Effect, Event, SetTimer
from millstream.kernel import ConfigError

STEPS_MAX = 32


class Progress(msgspec.Struct, array_like=True):
    """State of a `Sequenced`: for each step that was reached and not gone beyond, the newest time (UTC ns) at which
    such a sequence began; 0: none."""

    began_ns: list[int] = []


class Found(msgspec.Struct, frozen=True, gc=False):
    """A sequence, complete or not. `steps` were reached when it ended (UTC ns); all of them when `is_complete`."""

    start_ns: int
    end_ns: int
    steps: int
    is_complete: bool


class Sequenced:
    """Each of `steps` says whether an event is that step; other events may come in between. A sequence counts from the
    newest event that can be its first step; one that is complete ends all others that are under way, and the next one
    begins behind it. One that is not complete `within_ns` after its first step is found incomplete."""

    def __init__(self, steps: Sequence[Callable[[Event], bool]], *, within_ns: int, timer: str = "sequence") -> None:
        if not 2 <= len(steps) <= STEPS_MAX or within_ns <= 0:
            raise ConfigError("not a sequence", expected=f"2 to {STEPS_MAX} steps and a time", got=str(len(steps)))
        self._steps, self._within, self._timer = tuple(steps), within_ns, timer

    def take(self, state: Progress, event: Event) -> tuple[list[Found], list[Effect]]:
        """One event, or this sequence's timer. Other timers are not for it."""
        if event.is_timer:
            if event.timer != self._timer:
                return [], []
            return self._expire(state, event.time_ns), self._wake(state)
        last = len(self._steps) - 1
        if not state.began_ns:
            state.began_ns = [0] * last
        began, now_ns = state.began_ns, event.time_ns
        found = self._expire(state, now_ns)
        for index in range(last, 0, -1):  # backwards: one event is one step
            start = began[index - 1]
            if not start or not self._steps[index](event):
                continue
            if index == last:
                state.began_ns = [0] * last
                return [*found, Found(start, now_ns, last + 1, True)], self._wake(state)
            began[index], began[index - 1] = start, 0
        if self._steps[0](event):
            began[0] = now_ns
        return found, self._wake(state)

    def _expire(self, state: Progress, now_ns: int) -> list[Found]:
        found: dict[int, Found] = {}
        for index, start in enumerate(state.began_ns):
            if start and now_ns - start > self._within:
                found[start] = Found(start, start + self._within, index + 1, False)
                state.began_ns[index] = 0
        return list(found.values())

    def _wake(self, state: Progress) -> list[Effect]:
        starts = [start for start in state.began_ns if start]
        return [SetTimer(self._timer, min(starts) + self._within + 1)] if starts else [CancelTimer(self._timer)]
