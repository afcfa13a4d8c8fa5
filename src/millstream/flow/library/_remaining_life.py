"""How long something that wears will last, as far as its trend tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath, number
from millstream.shop import LifeLine, LifeRules

MEMORY_MAX = 500
DIGITS = 6
SECOND_NS = 10**9
KNOWN = "known"


class RemainingLifeConfig(FlowConfig):
    """Where the end is, and what kind of trend leads there."""

    limit: float
    """The value at which it is worn out, above or below the values at the beginning."""
    trend: Literal["linear", "exponential"] = "linear"
    """How it wears: by as much, or by as large a share, in equal times."""
    by: Literal["time", "values"] = "time"
    """`time`: what remains is told in seconds; `values`: in values, as cuts of a tool, which a pause does not wear."""
    memory: int = Field(default=100, ge=10, le=MEMORY_MAX)
    """The newest values that the trend is drawn through."""
    values_min: int = Field(default=20, ge=5, le=MEMORY_MAX)
    """With fewer it says nothing."""
    confidence: float = Field(default=0.9, ge=0.5, le=0.99)
    """Of so many intervals the end lies in it, where the wear goes on as it was."""
    horizon: float = Field(default=5, gt=0, le=100)
    """It looks ahead over at most so many times the stretch that the values cover."""
    fresh: float | None = None
    """At this value, or on the far side of it from the limit, it is as new: what was before is forgotten."""
    output: OutputName = "{name}/life"
    """At the same place: figures `<output>/remaining`, `<output>/low` and `<output>/high`, and the state
    `<output>/state`: `known`, or why nothing is known."""

    @model_validator(mode="after")
    def _fits(self) -> RemainingLifeConfig:
        if self.values_min > self.memory:
            raise ValueError("values_min is at most memory")
        if self.trend == "exponential" and self.limit <= 0:
            raise ValueError("an exponential trend has a limit above zero")
        if "{name}" not in self.output:
            raise ValueError("output contains {name}: each number has a life of its own")
        return self


class Wearing(msgspec.Struct, array_like=True):
    """The newest values with their times (UTC ns), how many there were, and what was said of them last."""

    times_ns: list[int] = []
    values: list[float] = []
    count: int = 0
    said: str = ""


class _Follow:
    """The step."""

    def __init__(self, config: RemainingLifeConfig) -> None:
        self._config, self._path = config, OutputPath(config.output)
        self._unit = "s" if config.by == "time" else None
        rules = LifeRules(
            config.limit, config.trend == "exponential", config.confidence, config.horizon, config.values_min
        )
        self._line = LifeLine(rules)

    def __call__(self, state: Wearing, event: Event) -> tuple[Wearing, Sequence[Effect]]:
        if event.value is None or event.quality.is_bad:
            return state, ()
        value = number(event.value)
        if value is None:
            raise ValueError(f"not a number: {event.value!r:.60}")
        if state.times_ns and event.time_ns <= state.times_ns[-1]:
            return state, ()  # of a trend only what comes after the others counts
        fresh, limit = self._config.fresh, self._config.limit
        if fresh is not None and (value <= fresh if limit > fresh else value >= fresh):
            state = Wearing(said=state.said)
        state.times_ns = [*state.times_ns, event.time_ns][-self._config.memory :]
        state.values = [*state.values, float(value)][-self._config.memory :]
        state.count += 1
        return state, self._said(state, event)

    def _said(self, state: Wearing, event: Event) -> list[Effect]:
        last_ns = state.times_ns[-1]
        if self._config.by == "time":
            x = [(at_ns - last_ns) / SECOND_NS for at_ns in state.times_ns]
        else:
            x = [float(n) for n in range(len(state.values))]
        found = self._line.remaining(x, state.values)
        path, effects = self._path(event.key), list[Effect]()
        said = found if isinstance(found, str) else KNOWN
        if _sort(said) != _sort(state.said):
            effects.append(Emit(f"{path}/state", said, event.time_ns, "state"))
        state.said = said
        if not isinstance(found, str):
            for name, value in (("remaining", found.mid), ("low", found.low), ("high", found.high)):
                short = float(f"{value:.{DIGITS}g}")
                effects.append(Emit(f"{path}/{name}", short, event.time_ns, "kpi", unit=self._unit))
        return effects


def _sort(said: str) -> str:
    """What was said without its count, so that each further value is no news."""
    return "few" if said.endswith(" values") and said[0].isdigit() else said


def _build(
    name: str, inputs: tuple[Input, ...], config: RemainingLifeConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    key, said = OutputPath(config.output).key, ("kpi", "state")
    return in_order(Flow(name, inputs, _Follow(config), Wearing, Wearing, key, None, said, time, version))


REMAINING_LIFE = FlowType(
    "remaining_life", RemainingLifeConfig, _build,
    "Follows a number that grows, or falls, as something wears (`tool/3/wear`, a level of vibration) and says how long "
    "until its limit, with an interval. Where there is no trend, too few values or too far to go, it says that it does "
    "not know. Needs `pip install millstream[predict]`.",
)  # fmt: skip
