"""Orders of a machine that turns: how strong a vibration is at multiples of its speed, also while that changes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._angle import REVOLUTIONS_MIN, SAMPLES_SHARE, AngleSpectrum
from millstream.flow.library._inputs import Inputs
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds, number
from millstream.flow.library._waveform import SAMPLE_BYTES, SIZE_MAX, SIZE_MIN
from millstream.model import Quality
from millstream.sdk import Duration

ORDERS_MAX = 32
SPEEDS_MAX = 256  # of one window; more are thinned
PER_SECOND = {"Hz": 1.0, "rpm": 1 / 60}
SIGNAL, SPEED = "signal", "speed"
_pack = struct.Struct("<d").pack


class OrdersConfig(FlowConfig):
    """The signal, the speed, and which of its multiples are worth knowing."""

    signal: str
    """The tag that is sampled fast, such as `vibration`."""
    speed: str
    """The tag of the speed at the same place. Between its values it is taken as a straight line."""
    speed_unit: Literal["Hz", "rpm"] = "rpm"
    """Revolutions a second, or a minute."""
    speed_age: Duration = 2.0
    """So old the newest speed may be at the end of a window, and so far apart two of them may be."""
    rate_hz: float = Field(gt=0, le=1e6)
    """Samples of the signal a second."""
    window: Duration = 2.0
    """So long a stretch gives one value of each order. It has to hold at least 4 revolutions."""
    orders: dict[str, float] = Field(min_length=1, max_length=ORDERS_MAX)
    """By name, multiples of the speed: `{unbalance: 1, misalignment: 2, meshing: 23}`."""
    output: OutputName = "orders"
    """At the same place: `<output>/<name>`, the RMS at that order, `<output>/speed` in revolutions a second, and the
    event `<output>/unknown` with its reason, once, when there are none."""

    @model_validator(mode="after")
    def _fits(self) -> OrdersConfig:
        if not SIZE_MIN <= self.size <= SIZE_MAX // 2:
            raise ValueError(f"a window holds {SIZE_MIN} to {SIZE_MAX // 2} samples; this one {self.size}")
        for name, order in self.orders.items():
            if not name.isidentifier() or not name.isascii() or name == SPEED:
                raise ValueError(f"not a name of an order: {name!r} (letters, digits and _)")
            if not 0 < order <= 1000:
                raise ValueError(f"order {name!r} is not between 0 and 1000")
        if "{" in self.output or self.signal == self.speed:
            raise ValueError("output is a plain name, and signal and speed are two tags")
        return self

    @property
    def size(self) -> int:
        """Samples of a window."""
        return round(self.rate_hz * self.window)


class Turning(msgspec.Struct, array_like=True):
    """Samples so far (float64, little-endian), the time of the newest (UTC ns), their worst quality; speeds (UTC ns,
    revolutions a second); why there was no result last time."""

    samples: bytes = b""
    newest_ns: int = 0
    quality: int = 0
    speeds: list[tuple[int, float]] = []
    unknown: str = ""


class _Follow:
    """The step."""

    def __init__(self, config: OrdersConfig, inputs: Inputs) -> None:
        self._config, self._inputs = config, inputs
        self._full = config.size * SAMPLE_BYTES
        self._distance_ns = nanoseconds(1 / config.rate_hz)
        self._age_ns = nanoseconds(config.speed_age)
        self._spectrum = AngleSpectrum(config.orders, rate_hz=config.rate_hz, size=config.size)

    def _path(self, key: str, name: str) -> str:
        return f"{key}:{self._config.output}/{name}"

    def __call__(self, state: Turning, event: Event) -> tuple[Turning, Sequence[Effect]]:
        name = self._inputs.name(event)
        if name is None:
            return state, ()
        value = None if event.value is None or event.quality.is_bad else number(event.value)
        if name == SPEED:
            if value is not None and (not state.speeds or event.time_ns > state.speeds[-1][0]):
                state.speeds.append((event.time_ns, float(value) * PER_SECOND[self._config.speed_unit]))
                self._thin(state)
            return state, ()
        if value is None:
            return self._lost(state, event, "a bad value")
        effects: Sequence[Effect] = ()
        distance_ns = self._distance_ns
        if state.samples and not distance_ns // 2 <= event.time_ns - state.newest_ns <= distance_ns * 3 // 2:
            state, effects = self._lost(state, event, "uneven times")
        state.samples += _pack(value)
        state.newest_ns = event.time_ns
        state.quality = max(state.quality, int(event.quality))
        if len(state.samples) < self._full:
            return state, effects
        said = self._said(state, event)
        state.samples, state.quality = b"", 0
        return state, [*effects, *said]

    def _thin(self, state: Turning) -> None:
        """Speeds from before the window are of no use, but for the last of them."""
        begin_ns = state.newest_ns - len(state.samples) // SAMPLE_BYTES * self._distance_ns
        while len(state.speeds) > 1 and state.speeds[1][0] <= begin_ns:
            del state.speeds[0]
        if len(state.speeds) > SPEEDS_MAX:
            state.speeds = [*state.speeds[:-1:2], state.speeds[-1]]

    def _lost(self, state: Turning, event: Event, why: str) -> tuple[Turning, Sequence[Effect]]:
        state.samples, state.quality = b"", 0
        return state, self._doubt(state, event, why)

    def _doubt(self, state: Turning, event: Event, why: str) -> Sequence[Effect]:
        if why == state.unknown:
            return ()
        state.unknown = why
        return (EmitEvent(self._path(event.key, "unknown"), "millstream.orders.unknown", {"why": why}, event.time_ns),)

    def _said(self, state: Turning, event: Event) -> Sequence[Effect]:
        begin_ns = event.time_ns - (self._config.size - 1) * self._distance_ns
        speeds = [pair for pair in state.speeds if pair[0] <= event.time_ns]
        before_ns = max((at_ns for at_ns, _ in speeds if at_ns <= begin_ns), default=begin_ns)
        known = [before_ns, *(at_ns for at_ns, _ in speeds if at_ns > begin_ns), event.time_ns]
        if not speeds or max(b - a for a, b in pairwise(known)) > self._age_ns:
            return self._doubt(state, event, "the speed is not known")
        found = self._spectrum.of(state.samples, [((at_ns - begin_ns) / 1e9, hz) for at_ns, hz in speeds])
        if found is None:
            return self._doubt(state, event, f"fewer than {REVOLUTIONS_MIN} revolutions in the window")
        state.unknown = ""
        quality = Quality(state.quality)
        speed_hz, orders = found
        return [
            Emit(self._path(event.key, SPEED), speed_hz, event.time_ns, "kpi", quality, "Hz"),
            *(
                Emit(self._path(event.key, name), value, event.time_ns, "kpi", quality, event.unit)
                for name, value in orders.items()
            ),
        ]


def _build(name: str, inputs: tuple[Input, ...], config: OrdersConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    found = Inputs({SIGNAL: config.signal, SPEED: config.speed}, None)
    step, said = _Follow(config, found), ("event", "kpi")
    return in_order(Flow(name, inputs, step, Turning, Turning, found.key, None, said, time, version))


ORDERS = FlowType(
    "orders", OrdersConfig, _build,
    "How strong a fast signal is at multiples of the speed of a machine, where `waveform` with its fixed frequencies "
    "would smear what moves with the speed: the samples are taken anew at equal angles, from the speed that another "
    f"tag tells. An order above {SAMPLES_SHARE:g} times the sampling rate is left out. Without a speed that is new "
    "enough it says that it does not know. Needs `pip install millstream[predict]`.",
)  # fmt: skip
