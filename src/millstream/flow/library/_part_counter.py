"""Parts from a light barrier, or from a counter in the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import CancelTimer, Effect, Emit, EmitEvent, Event, Flow, Input, SetTimer, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath, nanoseconds, whole
from millstream.model import GOOD, UNCERTAIN
from millstream.sdk import Duration

HOLD = "hold"


class PartCounterConfig(FlowConfig):
    """How parts are counted."""

    mode: Literal["signal", "counter"] = "signal"
    """`signal`: edges of a light barrier. `counter`: the increments of a counter that the device keeps."""
    output: OutputName = "parts"
    """Name of the total, at the same place as the input; `{name}` stands for the input's name. It only grows."""
    edge: Literal["rising", "falling", "both"] = "rising"
    """Which edges count (signal)."""
    threshold: float = 0.5
    """A number above it is high (signal)."""
    hold: Duration = 0.0
    """The new level has to last so long, shorter pulses are bounce (signal)."""
    lockout: Duration = 0.0
    """Edges so soon after a counted one do not count (signal)."""
    parts_per_edge: int = Field(default=1, ge=1, le=1_000_000)
    """What one edge, or one increment, stands for."""
    bits: Literal[16, 32, 64] | None = None
    """Width of the device's counter: it goes on at 0 behind its highest value. Without it a step back is a restart."""
    max_step: int | None = Field(default=None, ge=1)
    """More parts than can have been made between two readings: a wrap-around with a larger step is taken for a restart,
    and a larger step up is reported and not counted (counter)."""

    @model_validator(mode="after")
    def _fits(self) -> PartCounterConfig:
        if self.mode == "counter" and (self.hold or self.lockout):
            raise ValueError("hold and lockout are for the mode signal")
        if self.mode == "signal" and (self.bits is not None or self.max_step is not None):
            raise ValueError("bits and max_step are for the mode counter")
        return self


class Edges(msgspec.Struct, array_like=True):
    """Of one barrier: the total, the level that counts, the newest counted edge and since when the level may have
    turned (UTC ns, 0: not), the tag."""

    total: int = 0
    level: bool | None = None
    counted_ns: int = 0
    turning_ns: int = 0
    source: str = ""
    is_bad: bool = False


class DeviceCounter(msgspec.Struct, array_like=True):
    """Of one counter: the total, its newest value and the time of it (UTC ns), the tag."""

    total: int = 0
    raw: int | None = None
    raw_ns: int = 0
    source: str = ""
    is_bad: bool = False


class _CountEdges:
    def __init__(self, config: PartCounterConfig) -> None:
        self._path = OutputPath(config.output)
        self._threshold, self._parts = config.threshold, config.parts_per_edge
        self._hold_ns, self._lockout_ns = nanoseconds(config.hold), nanoseconds(config.lockout)
        self._on = {"rising": (True,), "falling": (False,), "both": (True, False)}[config.edge]

    def __call__(self, state: Edges, event: Event) -> tuple[Edges, Sequence[Effect]]:
        if event.kind == "timer":
            at_ns, state.turning_ns = state.turning_ns, 0
            return self._turn(state, event.key, at_ns, not state.level)
        value = event.value
        if value is None or event.quality >> 30 >= 2:
            if state.level is None or state.is_bad:
                return state, ()
            state.is_bad = True
            return state, (_unknown(self._path, event),)
        if state.is_bad:
            state.is_bad = False
            before: Sequence[Effect] = (Emit(self._path(event.key), state.total, event.time_ns, quality=UNCERTAIN),)
            state, effects = self._see(state, event)
            return state, (*before, *effects)
        return self._see(state, event)

    def _see(self, state: Edges, event: Event) -> tuple[Edges, Sequence[Effect]]:
        value = event.value
        kind = type(value)
        if kind is bool:
            level = value
        elif kind is int or kind is float:
            level = value > self._threshold
        else:
            raise ValueError(f"not a level: {value!r:.60}")
        if level is state.level:
            if not state.turning_ns:
                return state, ()
            state.turning_ns = 0
            return state, (CancelTimer(HOLD),)
        if state.level is None:
            state.level, state.source = level, event.source
            return state, (Emit(self._path(event.key), state.total, event.time_ns),)
        if event.source != state.source:
            raise ValueError(f"{event.source} and {state.source} have one total; put {{name}} into the output")
        if not self._hold_ns:
            return self._turn(state, event.key, event.time_ns, level)
        if state.turning_ns:
            return state, ()
        state.turning_ns = event.time_ns
        return state, (SetTimer(HOLD, event.time_ns + self._hold_ns),)

    def _turn(self, state: Edges, key: str, at_ns: int, level: bool) -> tuple[Edges, Sequence[Effect]]:
        state.level = level
        if level not in self._on:
            return state, ()
        if self._lockout_ns and state.counted_ns and 0 <= at_ns - state.counted_ns < self._lockout_ns:
            return state, ()
        state.total += self._parts
        state.counted_ns = at_ns
        return state, (Emit(self._path(key), state.total, at_ns),)


class _CountIncrements:
    def __init__(self, config: PartCounterConfig) -> None:
        self._path = OutputPath(config.output)
        self._parts, self._max_step = config.parts_per_edge, config.max_step
        self._span = 1 << config.bits if config.bits is not None else None

    def __call__(self, state: DeviceCounter, event: Event) -> tuple[DeviceCounter, Sequence[Effect]]:
        value = event.value
        if value is None or event.quality >> 30 >= 2:
            if state.raw is None or state.is_bad or event.time_ns < state.raw_ns:
                return state, ()
            state.is_bad = True
            return state, (_unknown(self._path, event),)
        if state.source != event.source:
            if state.source:
                raise ValueError(f"{event.source} and {state.source} have one total; put {{name}} into the output")
            state.source = event.source
        raw = whole(value)
        if self._span is not None:
            raw %= self._span  # a signed register shows its upper half as negative numbers
        last = state.raw
        if last is not None and event.time_ns < state.raw_ns and self._is_behind(last, raw):
            return state, ()  # an old reading: what came later holds it already
        state.raw, state.raw_ns = raw, max(event.time_ns, state.raw_ns)
        if last is None:
            return state, (self._total(state, event),)
        step, note = self._step(last, raw)
        effects: list[Effect] = []
        if note:
            data = {"reason": note, "from": last, "to": raw, "counted": step * self._parts}
            effects.append(EmitEvent(self._path(event.key), f"millstream.counter.{note}", data, event.time_ns))
        state.total += step * self._parts
        if step or note or state.is_bad:
            effects.append(self._total(state, event, is_sure=not note and not event.quality.is_uncertain))
        state.is_bad = False
        return state, effects

    def _is_behind(self, last: int, raw: int) -> bool:
        """True when `raw` was shown before `last`, as far as the numbers tell: the shorter way around is the true one
        (as for serial numbers, RFC 1982). A clock that was set back alone stops nothing."""
        if self._span is None:
            return raw <= last
        return (last - raw) % self._span <= (raw - last) % self._span

    def _step(self, last: int, raw: int) -> tuple[int, str]:
        """Parts between two readings, and what was noticed."""
        highest = self._max_step
        if raw >= last:
            step = raw - last
            return (step, "") if highest is None or step <= highest else (0, "jump")
        if self._span is not None:
            around = self._span - last + raw
            if around <= (highest if highest is not None else self._span // 2):
                return around, ""
        # It began at 0 again; what it shows was made since.
        return (raw, "restart") if highest is None or raw <= highest else (0, "restart")

    def _total(self, state: DeviceCounter, event: Event, *, is_sure: bool = True) -> Emit:
        return Emit(self._path(event.key), state.total, event.time_ns, quality=GOOD if is_sure else UNCERTAIN)


def _unknown(path: OutputPath, event: Event) -> Emit:
    """Said once, until the counter shows something again."""
    return Emit(path(event.key), None, event.time_ns, quality=event.quality)


def _build(
    name: str, inputs: tuple[Input, ...], config: PartCounterConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    step: Any = _CountEdges(config) if config.mode == "signal" else _CountIncrements(config)
    state: Any = Edges if config.mode == "signal" else DeviceCounter
    outputs = ("count",) if config.mode == "signal" else ("count", "event")
    return in_order(
        Flow(name, inputs, step, state, state, OutputPath(config.output).key, None, outputs, time, version)
    )  # fmt: skip


PART_COUNTER = FlowType(
    "part_counter", PartCounterConfig, _build,
    "Counts parts: the edges of a light barrier with debouncing, or the increments of a counter in the device over its "
    "overflow and restarts. Gives the total since the flow was started (`count`), first 0, then after each part. "
    "Restarts and jumps of a device's counter are events (`millstream.counter.restart`, `.jump`), and its total is "
    "Uncertain then. A bad input makes the total bad, once, until the next good one; that of a light barrier is "
    "Uncertain first, since parts may have been missed.",
)  # fmt: skip
