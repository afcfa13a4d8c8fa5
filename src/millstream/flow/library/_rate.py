"""What was produced in the last hour, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._windows import PANES_MAX, Panes, Result, Sliding
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath, nanoseconds, number
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration


class RateConfig(FlowConfig):
    """Over which time, and as what."""

    output: OutputName = "{name}_last_hour"
    """Name of the result, at the same place; `{name}` stands for the input's name. Without it all inputs of a place are
    one sum, which is right for increments only."""
    window: Duration = 3600.0
    """How far it looks back."""
    every: Duration = Field(default=60.0)
    """How often; the window is a multiple of it. As long as the window: one window behind the other."""
    of: Literal["total", "increment"] = "total"
    """What a sample says: how much there is in all (a counter that only grows), or how much was added."""
    per: Duration | None = None
    """Give a rate: so much per this time. Without it: how much in the window."""
    keep: Duration = 3600.0
    """So long after its end a result is corrected by samples that come late; what comes later is an event."""
    unit: str | None = None
    """Unit of the result."""

    @model_validator(mode="after")
    def _fits(self) -> RateConfig:
        window_ns, every_ns = nanoseconds(self.window), nanoseconds(self.every)
        if not every_ns or window_ns % every_ns or not 1 <= window_ns // every_ns <= PANES_MAX:
            raise ValueError(f"window must be 1 to {PANES_MAX} times every")
        if self.per is not None and not self.per:
            raise ValueError("per must be longer than 0s")
        return self


class Totals(msgspec.Struct, array_like=True):
    """The first and the newest total of a stretch of time, with their times (UTC ns), or the sum of the increments."""

    first_ns: int = 0
    first: float | int = 0
    last_ns: int = 0
    last: float | int = 0


def _fold_total(totals: Totals, event: Event) -> Totals:
    value = number(event.value)
    assert value is not None
    one = Totals(event.time_ns, value, event.time_ns, value)
    return one if not totals.last_ns else _merge_totals(totals, one)


def _merge_totals(one: Totals, other: Totals) -> Totals:
    first = one if one.first_ns <= other.first_ns else other
    last = one if one.last_ns > other.last_ns else other
    return Totals(first.first_ns, first.first, last.last_ns, last.last)


def _fold_increment(totals: Totals, event: Event) -> Totals:
    value = number(event.value)
    assert value is not None
    return Totals(last_ns=max(totals.last_ns, event.time_ns), last=totals.last + value)


def _merge_increments(one: Totals, other: Totals) -> Totals:
    return Totals(last_ns=max(one.last_ns, other.last_ns), last=one.last + other.last)


class _Measure:
    def __init__(self, config: RateConfig) -> None:
        self._path, self._unit = OutputPath(config.output), config.unit
        self._is_total = config.of == "total"
        self._factor = config.window / config.per if config.per is not None else None
        self._window: Sliding[Totals] = Sliding(
            nanoseconds(config.window), nanoseconds(config.every), initial=Totals,
            fold=_fold_total if self._is_total else _fold_increment,
            merge=_merge_totals if self._is_total else _merge_increments, keep_ns=nanoseconds(config.keep),
        )  # fmt: skip

    def __call__(self, state: Panes[Totals], event: Event) -> tuple[Panes[Totals], Sequence[Effect]]:
        if not event.is_timer:
            if event.value is None or event.quality.is_bad:
                return state, ()
            if number(event.value) is None:
                raise ValueError(f"not a number: {event.value!r:.60}")
        results, effects = self._window.take(state, event)
        return state, [*effects, *(self._said(event, result) for result in results)]

    def _said(self, event: Event, result: Result[Totals]) -> Effect:
        path = self._path(event.key)
        if result.is_supplement:
            data = {
                "start": format_time(result.start_ns), "end": format_time(result.end_ns), "value": event.value,
                "source": event.source,
            }  # fmt: skip
            return EmitEvent(path, "millstream.flow.late", data, event.time_ns)
        amount = self._amount(result)
        value = amount if self._factor is None else amount / self._factor
        return Emit(path, value, result.end_ns, "kpi", unit=self._unit, revision=result.revision)

    def _amount(self, result: Result[Totals]) -> float | int:
        inside = result.value
        if not self._is_total:
            return inside.last
        if not inside.last_ns:
            return 0
        before = result.before
        return inside.last - (before.last if before is not None else inside.first)


def _build(name: str, inputs: tuple[Input, ...], config: RateConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    path = OutputPath(config.output)
    return Flow(
        name, inputs, _Measure(config), Panes, Panes[Totals], path.key, None, ("kpi", "event"), time, version
    )  # fmt: skip


RATE = FlowType(
    "rate", RateConfig, _build,
    "Gives what was produced in the last hour (or any window), each minute, or the rate of it. Late samples correct "
    "what was given: the result comes again with the next revision. The time of a result is the end of its window.",
)  # fmt: skip
