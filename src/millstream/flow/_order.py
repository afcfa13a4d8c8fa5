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


class Ordered(msgspec.Struct, array_like=True):
    """The state of a wrapped flow: its own, encoded, and what waits in the order of time."""

    inner: bytes | None = None
    held: list[Held] = []


def in_order(flow: Flow[S]) -> Flow[Any]:
    """The same flow, whose step sees each key's events in the order of their times, as far as `lateness_ns` reaches.
    What comes later than that is given to it at once, flagged as late. The timer name ``~order`` is taken."""
    if not flow.time.lateness_ns:
        return flow
    return replace(flow, step=_Ordering(flow), initial=Ordered, state_type=Ordered, absorb=None)  # type: ignore[arg-type]


class _Ordering(Generic[S]):
    """The step of a wrapped flow. The inner state is decoded for each event, so that a step that changes it in place
    and then raises has changed nothing."""

    def __init__(self, flow: Flow[S]) -> None:
        self._step = flow.step
        self._initial = flow.initial
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(flow.state_type).decode

    def __call__(self, state: Ordered, event: Event) -> tuple[Ordered | None, Sequence[Effect]]:
        held = state.held
        if event.is_timer and event.timer == TIMER:
            count = bisect_right(held, event.time_ns, key=_time_of)
            due, state.held = held[:count], held[count:]
            return self._release(state, event, due)
        if event.is_timer or event.is_late:
            return self._kept(state, self._inner_step(state, event))
        waiting = Held(event.time_ns, event.kind, event.source, event.value, int(event.quality), event.unit, event.type)
        held.insert(bisect_right(held, event.time_ns, key=_time_of), waiting)
        if len(held) > HELD_MAX:
            return self._release(state, event, [held.pop(0)])
        return state, (SetTimer(TIMER, held[0].time_ns),) if waiting is held[0] else ()

    def _inner_step(self, state: Ordered, event: Event) -> Sequence[Effect]:
        inner = self._initial() if state.inner is None else self._decode(state.inner)
        inner, effects = self._step(inner, event)
        state.inner = None if inner is None else self._encode(inner)
        return effects

    def _release(self, state: Ordered, of: Event, due: list[Held]) -> tuple[Ordered | None, Sequence[Effect]]:
        effects: list[Effect] = []
        key, pieces = of.key, of.pieces
        for one in due:
            quality = Quality(one.quality) if one.quality else GOOD
            event = Event(
                key, one.kind, one.time_ns, one.value, quality, one.source, False, "", one.type, one.unit, pieces
            )  # fmt: skip
            try:
                effects += self._inner_step(state, event)
            except MemoryError:  # whoever bounds the memory decides whether this event or the process is at fault
                raise
            except Exception as error:  # noqa: BLE001 - the user's code; the event must not stay and fail for ever
                effects.append(Refuse(event, error))
        return self._kept(state, effects)

    def _kept(self, state: Ordered, effects: Sequence[Effect]) -> tuple[Ordered | None, Sequence[Effect]]:
        if state.held:
            return state, [*effects, SetTimer(TIMER, state.held[0].time_ns)]
        return (None if state.inner is None else state), [*effects, CancelTimer(TIMER)]


def _time_of(held: Held) -> int:
    return held.time_ns
