"""Events for changes of a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from millstream.flow._model import Effect, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath
from millstream.protocols.cloudevents import format_time


class ChangeOfStateConfig(FlowConfig):
    """Which changes are told."""

    output: OutputName = "{name}"
    """Name of the events, at the same place; `{name}` stands for the input's name."""
    type: str = "millstream.state.changed"
    """CloudEvents type."""
    to: tuple[bool | int | float | str, ...] = ()
    """Only changes to one of these values; none: all changes."""


class Standing(msgspec.Struct, array_like=True):
    """The value that stands, and since when (UTC ns)."""

    value: Any = None
    since_ns: int = 0


class _Tell:
    def __init__(self, config: ChangeOfStateConfig) -> None:
        self._path, self._type, self._to = OutputPath(config.output), config.type, config.to

    def __call__(self, state: Standing, event: Event) -> tuple[Standing, Sequence[Effect]]:
        value = event.value
        if value is None or event.quality.is_bad or value == state.value:
            return state, ()
        old, since_ns = state.value, state.since_ns
        state.value, state.since_ns = value, event.time_ns
        if old is None or (self._to and value not in self._to):
            return state, ()
        data = {
            "from": old, "to": value, "since": format_time(since_ns),
            "duration_s": (event.time_ns - since_ns) / 1e9,
        }  # fmt: skip
        return state, (EmitEvent(self._path(event.key), self._type, data, event.time_ns),)


def _build(
    name: str, inputs: tuple[Input, ...], config: ChangeOfStateConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    path = OutputPath(config.output)
    return in_order(
        Flow(name, inputs, _Tell(config), Standing, Standing, path.key, None, ("event",), time, version)
    )  # fmt: skip


CHANGE_OF_STATE = FlowType(
    "change_of_state", ChangeOfStateConfig, _build,
    "Makes an event of each change of a value: from what to what, since when the old one stood and for how long. The "
    "first value and bad ones are no change.",
)  # fmt: skip
