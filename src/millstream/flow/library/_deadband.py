"""Fewer samples, with a bound on what is lost: deadband and swinging door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import CancelTimer, Effect, Emit, Event, Flow, Input, SetTimer, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath, nanoseconds, number
from millstream.model import GOOD, Quality
from millstream.sdk import Duration

FLUSH = "flush"


class DeadbandConfig(FlowConfig):
    """When a sample is worth to be kept."""

    absolute: float | None = Field(default=None, ge=0)
    """Kept when it differs by more than this from the last one kept."""
    percent: float | None = Field(default=None, ge=0, le=100)
    """Kept when it differs by more than this share of the last one kept."""
    max_interval: Duration | None = None
    """A sample is kept at least that often, as long as samples come."""
    output: OutputName = "{name}/deadband"
    """Name of the result, at the same place; `{name}` stands for the input's name."""

    @model_validator(mode="after")
    def _one_bound(self) -> DeadbandConfig:
        if (self.absolute is None) == (self.percent is None):
            raise ValueError("a deadband needs either absolute or percent")
        return self


class KeptSample(msgspec.Struct, array_like=True):
    """The last sample that was kept; time UTC ns, 0: none."""

    time_ns: int = 0
    value: Any = None
    quality: int = 0


class _Deadband:
    def __init__(self, config: DeadbandConfig) -> None:
        self._path, self._absolute, self._percent = OutputPath(config.output), config.absolute, config.percent
        self._interval_ns = nanoseconds(config.max_interval) if config.max_interval is not None else None

    def __call__(self, kept: KeptSample, event: Event) -> tuple[KeptSample, Sequence[Effect]]:
        if kept.time_ns and event.quality == kept.quality and self._is_near(kept, event):
            return kept, ()
        kept = KeptSample(event.time_ns, event.value, int(event.quality))
        return kept, (Emit(self._path(event.key), event.value, event.time_ns, event.kind, event.quality, event.unit),)

    def _is_near(self, kept: KeptSample, event: Event) -> bool:
        if self._interval_ns is not None and event.time_ns - kept.time_ns >= self._interval_ns:
            return False
        old, new = number(kept.value), number(event.value)
        if old is None or new is None:
            return bool(kept.value == event.value)
        bound = self._absolute if self._absolute is not None else abs(old) * (self._percent or 0) / 100
        return abs(new - old) <= bound


class SwingingDoorConfig(FlowConfig):
    """How exact the curve stays."""

    error: float = Field(gt=0)
    """No sample is farther than this from the straight line between the points that are kept, in its unit."""
    max_interval: Duration = 600.0
    """A point is kept at least that often; also the longest time that a value is held back."""
    output: OutputName = "{name}/compressed"
    """Name of the result, at the same place; `{name}` stands for the input's name."""


class Point(msgspec.Struct, array_like=True):
    """One sample."""

    time_ns: int
    value: float | int
    quality: int = 0
    unit: str | None = None
    kind: str = "tag"


class Door(msgspec.Struct, array_like=True):
    """The last point that was kept, the newest one, and the slopes (per ns) between which a line from the first must
    run to pass all samples since."""

    anchor: Point | None = None
    newest: Point | None = None
    low: float = 0.0
    high: float = 0.0


class _SwingingDoor:
    """Swinging door trending, with the newest sample itself as the next point: it is kept only while the line to it
    runs within the bound of all samples before it, so the bound holds for what is stored."""

    def __init__(self, config: SwingingDoorConfig) -> None:
        self._path, self._interval_ns = OutputPath(config.output), nanoseconds(config.max_interval)
        self._error = config.error

    def __call__(self, door: Door, event: Event) -> tuple[Door, Sequence[Effect]]:
        if event.is_timer:
            return self._flush(door, event.key, ())
        value = number(event.value)
        if value is None or event.quality.is_bad:
            return self._flush(door, event.key, (self._as_it_is(event),))
        point = Point(event.time_ns, value, int(event.quality), event.unit, event.kind)
        anchor, newest = door.anchor, door.newest
        if anchor is None or point.quality != anchor.quality or point.unit != anchor.unit:
            door, effects = self._flush(door, event.key, ())
            door.anchor = point
            return door, (*effects, self._kept(event.key, point))
        behind = newest if newest is not None else anchor
        if point.time_ns <= behind.time_ns:
            return door, (self._as_it_is(event),)  # too late for its place: a point of its own
        said: tuple[Effect, ...] = ()
        if newest is not None and not self._is_between(door, anchor, point):
            anchor, door = newest, Door(newest)
            said = (self._kept(event.key, newest),)
        self._narrow(door, anchor, point)
        return door, (*said, SetTimer(FLUSH, anchor.time_ns + self._interval_ns))

    def _is_between(self, door: Door, anchor: Point, point: Point) -> bool:
        slope = (point.value - anchor.value) / (point.time_ns - anchor.time_ns)
        return door.low <= slope <= door.high

    def _narrow(self, door: Door, anchor: Point, point: Point) -> None:
        span_ns = point.time_ns - anchor.time_ns
        rise = point.value - anchor.value
        low, high = (rise - self._error) / span_ns, (rise + self._error) / span_ns
        is_first = door.newest is None
        door.low = low if is_first else max(door.low, low)
        door.high = high if is_first else min(door.high, high)
        door.newest = point

    def _flush(self, door: Door, key: str, more: tuple[Effect, ...]) -> tuple[Door, Sequence[Effect]]:
        """Keep the newest point; a new line begins there, or behind what is none."""
        newest = door.newest
        said = (self._kept(key, newest),) if newest is not None else ()
        anchor = newest if newest is not None else door.anchor
        return Door(None if more else anchor), (CancelTimer(FLUSH), *said, *more)

    def _kept(self, key: str, point: Point) -> Emit:
        quality = Quality(point.quality) if point.quality else GOOD
        return Emit(self._path(key), point.value, point.time_ns, point.kind, quality, point.unit)

    def _as_it_is(self, event: Event) -> Emit:
        return Emit(self._path(event.key), event.value, event.time_ns, event.kind, event.quality, event.unit)


def _build_deadband(
    name: str, inputs: tuple[Input, ...], config: DeadbandConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    return _flow(name, inputs, _Deadband(config), KeptSample, config.output, version, time)


def _build_door(
    name: str, inputs: tuple[Input, ...], config: SwingingDoorConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    return _flow(name, inputs, _SwingingDoor(config), Door, config.output, version, time)


def _flow(
    name: str, inputs: tuple[Input, ...], step: Any, state: type[Any], output: str, version: int, time: TimePolicy
) -> Flow[Any]:
    kinds = tuple(dict.fromkeys(i.kind for i in inputs))
    return in_order(Flow(name, inputs, step, state, state, OutputPath(output).key, None, kinds, time, version))


DEADBAND = FlowType(
    "deadband", DeadbandConfig, _build_deadband,
    "Passes a sample on when it differs enough from the last one that was passed on, when its quality changes, and at "
    "least each `max_interval`. Texts pass when they change.",
)  # fmt: skip
SWINGING_DOOR = FlowType(
    "swinging_door", SwingingDoorConfig, _build_door,
    "Keeps the points between which straight lines run within `error` of every sample (swinging door trending); exact "
    "up to the rounding of floats, for samples in order of time. What is no good number goes through as it is.",
)  # fmt: skip
