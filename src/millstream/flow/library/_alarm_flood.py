"""Alarm floods: when more alarms come than people can look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from millstream.flow._model import CancelTimer, Effect, EmitEvent, Event, Flow, Input, SetTimer, TimePolicy
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds
from millstream.model import AssetPath
from millstream.protocols.alarm import EVENT_TYPE
from millstream.protocols.cloudevents import format_time
from millstream.protocols.uns_subject import UnsAddress
from millstream.sdk import Duration
from millstream.shop import Flood, FloodRules, count_alarm, pass_flood_time

RAISED = f"{EVENT_TYPE}.raised"
TIMER = "flood"


class AlarmFloodConfig(FlowConfig):
    """When it is a flood."""

    levels: int = Field(default=2, ge=1, le=12)
    """The alarms of everything below the place that many levels from the top are counted together: what one operator
    looks after."""
    window: Duration = 600.0
    """In which time."""
    begins: int = Field(default=10, ge=1, le=400)
    """More than so many alarms in it are a flood."""
    ends: int = Field(default=5, ge=1, le=400)
    """With fewer than so many it is over."""
    output: OutputName = "alarm_flood"
    """Name of the events."""

    @model_validator(mode="after")
    def _fits(self) -> AlarmFloodConfig:
        if self.ends > self.begins or not self.window:
            raise ValueError("a flood ends with fewer alarms than it begins with, in a window longer than 0s")
        return self


class _Count:
    """The step."""

    def __init__(self, config: AlarmFloodConfig) -> None:
        self._output = config.output
        self._rules = FloodRules(nanoseconds(config.window), config.begins, config.ends)

    def __call__(self, state: Flood, event: Event) -> tuple[Flood, Sequence[Effect]]:
        if event.is_timer:
            after, what = pass_flood_time(state, self._rules, event.time_ns)
        elif event.type == RAISED:
            after, what = count_alarm(state, self._rules, event.time_ns)
        else:
            return state, ()
        effects: list[Effect] = []
        if what is not None:
            flood = after if what == "began" else state
            data = {"since": format_time(flood.since_ns), "alarms": flood.total, "peak": flood.peak}
            kind = f"{EVENT_TYPE}.flood.{what}"
            effects.append(EmitEvent(f"{event.key}:{self._output}", kind, data, event.time_ns))
        due_ns = after.due_ns(self._rules)
        return after, [*effects, CancelTimer(TIMER) if due_ns is None else SetTimer(TIMER, due_ns)]


def _build(
    name: str, inputs: tuple[Input, ...], config: AlarmFloodConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    def key(address: UnsAddress) -> str:
        return str(AssetPath(address.asset.levels[: config.levels]))

    return Flow(name, inputs, _Count(config), Flood, Flood, key, None, ("event",), time, version)


ALARM_FLOOD = FlowType(
    "alarm_flood", AlarmFloodConfig, _build,
    "Tells when a flood of alarms begins and ends: more alarms in ten minutes than a person can look at. Its inputs "
    "are the alarms (`kind: alarm`) of other flows.",
)  # fmt: skip
