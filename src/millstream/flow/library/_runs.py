"""Runs: stretches in which something happens, with the pauses between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field

from millstream.flow._model import Effect, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._windows import Result, Session, Sessions
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath, nanoseconds, number
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration


class RunsConfig(FlowConfig):
    """What belongs to one run."""

    gap: Duration = Field(default=60.0, gt=0)
    """A pause of this length ends a run."""
    of: Literal["events", "total", "increment"] = "events"
    """What is summed up: how many samples, how much a counter grew from the first to the last, or the values."""
    above: float | None = None
    """Only samples above this are activity (a speed, a power)."""
    keep: Duration = 3600.0
    """So long a run that has ended is corrected by what comes late."""
    output: OutputName = "{name}/run"
    """Name of the events, at the same place; `{name}` stands for the input's name."""


class Activity(msgspec.Struct, array_like=True):
    """Samples, their sum, and the first and last value with their times (UTC ns)."""

    count: int = 0
    sum: float | int = 0
    first_ns: int = 0
    first: float | int = 0
    last_ns: int = 0
    last: float | int = 0


def _fold(activity: Activity, event: Event) -> Activity:
    value = number(event.value)
    amount = value if value is not None else 0
    return _merge(activity, Activity(1, amount, event.time_ns, amount, event.time_ns, amount))


def _merge(one: Activity, other: Activity) -> Activity:
    if not one.count:
        return other
    first = one if one.first_ns <= other.first_ns else other
    last = one if one.last_ns > other.last_ns else other
    return Activity(
        one.count + other.count, one.sum + other.sum, first.first_ns, first.first, last.last_ns, last.last
    )  # fmt: skip


class _Runs:
    def __init__(self, config: RunsConfig) -> None:
        self._path, self._of, self._above = OutputPath(config.output), config.of, config.above
        self._session: Session[Activity] = Session(
            nanoseconds(config.gap), initial=Activity, fold=_fold, merge=_merge, keep_ns=nanoseconds(config.keep)
        )

    def __call__(self, state: Sessions[Activity], event: Event) -> tuple[Sessions[Activity], Sequence[Effect]]:
        if not event.is_timer and not self._is_activity(event):
            return state, ()
        results, effects = self._session.take(state, event)
        return state, [*effects, *(self._said(event, result) for result in results)]

    def _is_activity(self, event: Event) -> bool:
        if event.value is None or event.quality.is_bad or event.value is False:
            return False
        value = number(event.value)
        if value is None and (self._above is not None or self._of != "events"):
            raise ValueError(f"not a number: {event.value!r:.60}")
        return self._above is None or (value is not None and value > self._above)

    def _said(self, event: Event, result: Result[Activity]) -> EmitEvent:
        activity = result.value
        amount = {"events": activity.count, "increment": activity.sum, "total": activity.last - activity.first}
        data = {
            "start": format_time(result.start_ns), "end": format_time(result.end_ns),
            "duration_s": (result.end_ns - result.start_ns) / 1e9, "samples": activity.count,
            "amount": amount[self._of], "revision": result.revision,
        }  # fmt: skip
        what = "retracted" if result.is_retracted else "late" if result.is_supplement else "ended"
        return EmitEvent(self._path(event.key), f"millstream.run.{what}", data, result.end_ns)


def _build(name: str, inputs: tuple[Input, ...], config: RunsConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    path = OutputPath(config.output)
    state: Any = Sessions[Activity]
    return Flow(name, inputs, _Runs(config), Sessions, state, path.key, None, ("event",), time, version)


RUNS = FlowType(
    "runs", RunsConfig, _build,
    "Makes one event of each run, the time in which samples follow each other without a longer pause: start, end, "
    "duration, samples, amount (`millstream.run.ended`). A run that late samples change comes again with the next "
    "revision; one that became part of another is taken back (`.retracted`).",
)  # fmt: skip
