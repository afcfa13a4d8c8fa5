"""Events of a key in the order of their times: they are held back until the watermark has passed them.

A step that sees edges, states or sequences needs order. `in_order` wraps such a flow; it changes nothing when the flow
allows no lateness, because then the order of the stream stands, which is the order of the source even when its clock is
set back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic

import msgspec

from millstream.flow._model import CancelTimer, Effect, Event, Flow, Refuse, S, SetTimer
from millstream.model import GOOD, Quality

HELD_MAX = 1000  # events of one key; then the oldest goes on before its time
TIMER = "~order"


class Held(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """One event that waits."""

    time_ns: int
    kind: str
    source: str
    value: Any
    quality: int = 0
    unit: str | None = None
    type: str = ""


class Ordered(msgspec.Struct, Generic[S], array_like=True):
    """The state of a wrapped flow: its own, and what waits in the order of time."""

    inner: S | None = None
    held: list[Held] = []


def in_order(flow: Flow[S]) -> Flow[Any]:
    """The same flow, whose step sees each key's events in the order of their times, as far as `lateness_ns` reaches.
    What comes later than that is given to it at once, flagged as late. The timer name ``~order`` is taken."""
    if not flow.time.lateness_ns:
        return flow
    state_type: Any = Ordered[flow.state_type]  # type: ignore[name-defined]  # the type is known at run time only
    return replace(flow, step=_Ordering(flow), initial=Ordered, state_type=state_type)  # type: ignore[arg-type]


class _Ordering(Generic[S]):
    """The step of a wrapped flow."""

    def __init__(self, flow: Flow[S]) -> None:
        self._step = flow.step
        self._initial = flow.initial

    def __call__(self, state: Ordered[S], event: Event) -> tuple[Ordered[S] | None, Sequence[Effect]]:
        held = state.held
        if event.is_timer and event.timer == TIMER:
            count = bisect_right(held, event.time_ns, key=_time_of)
            due, state.held = held[:count], held[count:]
            return self._release(state, event.key, due)
        if event.is_timer or event.is_late:
            inner, effects = self._step(self._inner(state), event)
            return self._kept(state, inner, effects)
        waiting = Held(event.time_ns, event.kind, event.source, event.value, int(event.quality), event.unit, event.type)
        held.insert(bisect_right(held, event.time_ns, key=_time_of), waiting)
        if len(held) > HELD_MAX:
            return self._release(state, event.key, [held.pop(0)])
        return state, (SetTimer(TIMER, held[0].time_ns),) if waiting is held[0] else ()

    def _inner(self, state: Ordered[S]) -> S:
        return state.inner if state.inner is not None else self._initial()

    def _release(self, state: Ordered[S], key: str, due: list[Held]) -> tuple[Ordered[S] | None, Sequence[Effect]]:
        effects: list[Effect] = []
        inner = state.inner
        for one in due:
            quality = Quality(one.quality) if one.quality else GOOD
            event = Event(key, one.kind, one.time_ns, one.value, quality, one.source, False, "", one.type, one.unit)
            try:
                inner, said = self._step(inner if inner is not None else self._initial(), event)
            except Exception as error:  # noqa: BLE001 - the user's code; the event must not stay and fail for ever
                effects.append(Refuse(event, error))
            else:
                effects += said
        return self._kept(state, inner, effects)

    def _kept(
        self, state: Ordered[S], inner: S | None, effects: Sequence[Effect]
    ) -> tuple[Ordered[S] | None, Sequence[Effect]]:
        state.inner = inner
        if not state.held:
            return (None if inner is None else state), [*effects, CancelTimer(TIMER)]
        return state, [*effects, SetTimer(TIMER, state.held[0].time_ns)]


def _time_of(held: Held) -> int:
    return held.time_ns
