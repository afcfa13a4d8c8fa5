"""Statistical process control of what a machine measures: control charts that raise alarms, and capability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._alarm_life import TIMER, AlarmLife, AlarmLifeConfig, KeptAlarm, asks, life_asked
from millstream.flow.library._inputs import Inputs, Names
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, number
from millstream.shop import Center, Chart, ChartRules, capability, ewma_limit, individuals, subgroups

VALUES_MAX = 500  # of one characteristic that are kept for its capability
POINTS_MAX = 200  # that limits are learnt from
Rule = Literal["we1", "we2", "we3", "we4", "cusum", "ewma"]


class ChartConfig(AlarmLifeConfig):
    """One characteristic: its chart, its tolerance, and how its alarms behave."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    """Its name, such as `diameter`."""
    of: str
    """The short name of the tag that gives the values."""
    size: int = Field(default=1, ge=1, le=10)
    """1: each value is a point of the chart. 2 to 10: the mean of so many values one after the other is (X-bar)."""
    mean: float | None = None
    """The mean of the process, where it is known."""
    sigma: float | None = Field(default=None, gt=0)
    """The standard deviation of what is charted (of the means, with a `size`), where it is known."""
    learn: int = Field(default=25, ge=5, le=POINTS_MAX)
    """Without mean and sigma they are worked out from so many points, by ranges, and then stay."""
    rules: tuple[Rule, ...] = Field(default=("we1", "we2", "we3", "we4"), min_length=1)
    """Which rules raise an alarm: Western Electric's `we1` to `we4`, `cusum`, `ewma`."""
    cusum_k: float = Field(default=0.5, gt=0)
    """Reference value of the sums, in sigma."""
    cusum_h: float = Field(default=5.0, gt=0)
    """Decision interval of the sums, in sigma."""
    ewma_weight: float = Field(default=0.2, gt=0, le=1)
    """Lambda of the weighted average."""
    ewma_limit: float = Field(default=3.0, gt=0)
    """Limits of the weighted average, in its own sigma."""
    lower: float | None = None
    """Lower tolerance."""
    upper: float | None = None
    """Upper tolerance."""
    capability_of: int = Field(default=100, ge=20, le=VALUES_MAX)
    """With a tolerance Cp, Cpk, Pp and Ppk of so many values are given, each time so many have come."""

    @model_validator(mode="after")
    def _fits(self) -> ChartConfig:
        if (self.mean is None) != (self.sigma is None):
            raise ValueError("mean and sigma go together")
        if self.capability_of % self.size:
            raise ValueError("capability_of is a multiple of size")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError("the lower tolerance is below the upper one")
        return self

    @property
    def center(self) -> Center | None:
        """As given."""
        return None if self.mean is None or self.sigma is None else Center(self.mean, self.sigma)


class SpcConfig(FlowConfig):
    """Which characteristics are charted."""

    names: Names
    """Short names of the tags: `{diameter: gauge/diameter}`."""
    charts: tuple[ChartConfig, ...] = Field(min_length=1, max_length=10)
    """The characteristics."""
    output: OutputName = "spc"
    """Alarms are `<output>/<characteristic>/<rule>` at the same place, results `<output>/<characteristic>/cpk` and so
    on."""

    @model_validator(mode="after")
    def _known(self) -> SpcConfig:
        for chart in self.charts:
            if chart.of not in self.names:
                raise ValueError(f"{chart.of!r} is not among the names: {', '.join(self.names)}")
        if len({chart.name for chart in self.charts}) < len(self.charts):
            raise ValueError("two charts of one name")
        if "{" in self.output:
            raise ValueError("output is a plain name")
        return self


class Characteristic(msgspec.Struct, array_like=True):
    """Values of the subgroup that is not full yet, points while limits are learnt, the chart, the newest values and how
    many have come since the last capability."""

    group: list[float] = []
    learnt: list[list[float]] = []
    center: Center | None = None
    chart: Chart = msgspec.field(default_factory=Chart)
    values: list[float] = []
    fresh: int = 0


class Process(msgspec.Struct, array_like=True):
    """Characteristics and alarms of one machine, by name."""

    charts: dict[str, Characteristic] = {}
    alarms: dict[str, KeptAlarm] = {}


class _Control:
    """The step."""

    def __init__(self, config: SpcConfig, inputs: Inputs) -> None:
        self._inputs, self._output = inputs, config.output
        self._by_tag: Mapping[str, Sequence[ChartConfig]] = {
            name: [chart for chart in config.charts if chart.of == name] for name in config.names
        }
        self._rules = {
            c.name: ChartRules(c.cusum_k, c.cusum_h, c.ewma_weight, c.ewma_limit) for c in config.charts
        }  # fmt: skip
        self._lives = {
            f"{chart.name}/{rule}": AlarmLife(
                f"{chart.name}/{rule}", self._path, chart, of=config.names[chart.of], limit=rule
            )
            for chart in config.charts
            for rule in chart.rules
        }

    def _path(self, key: str, name: str) -> str:
        return f"{key}:{self._output}/{name}"

    def __call__(self, state: Process, event: Event) -> tuple[Process, Sequence[Effect]]:
        if event.is_timer:
            return state, self._lives[event.timer.removeprefix(TIMER)].on_timer(state.alarms, event.key, event.time_ns)
        if event.kind == "ack":
            return state, life_asked(self._lives, self._output, event).asked(state.alarms, event)
        name = self._inputs.name(event)
        if name is None or event.value is None or event.quality.is_bad:
            return state, ()
        value = number(event.value)
        if value is None:
            raise ValueError(f"not a number: {event.value!r:.60}")
        effects: list[Effect] = []
        for chart in self._by_tag[name]:
            effects += self._add(state, chart, event, float(value))
        return state, effects

    def _add(self, state: Process, config: ChartConfig, event: Event, value: float) -> list[Effect]:
        kept = state.charts.setdefault(config.name, Characteristic(center=config.center))
        effects = self._capability(kept, config, event, value)
        kept.group.append(value)
        if len(kept.group) < config.size:
            return effects
        group, kept.group = kept.group, []
        point = sum(group) / len(group)
        if config.size > 1:
            effects.append(Emit(self._path(event.key, f"{config.name}/mean"), point, event.time_ns, "kpi"))
        if kept.center is None:
            kept.learnt.append(group)
            if len(kept.learnt) < config.learn:
                return effects
            return [*effects, *self._learn(kept, config, event)]
        broken = kept.chart.add(kept.center, self._rules[config.name], point)
        for rule in config.rules:
            life = self._lives[f"{config.name}/{rule}"]
            effects += life.observe(state.alarms, event.key, event.time_ns, holds=rule in broken, value=point)
        return effects

    def _learn(self, kept: Characteristic, config: ChartConfig, event: Event) -> list[Effect]:
        learnt = kept.learnt
        try:
            kept.center = individuals([g[0] for g in learnt]) if config.size == 1 else subgroups(learnt)
        except ValueError:  # nothing varied so far: the oldest goes, and the next one may
            del learnt[0]
            return []
        kept.learnt = []
        mean, sigma = kept.center.mean, kept.center.sigma
        data = {
            "points": config.learn, "size": config.size, "mean": mean, "sigma": sigma,
            "lower": mean - 3 * sigma, "upper": mean + 3 * sigma,
            "ewma_distance": ewma_limit(self._rules[config.name]) * sigma,
        }  # fmt: skip
        return [EmitEvent(self._path(event.key, f"{config.name}/limits"), "millstream.spc.limits", data, event.time_ns)]

    def _capability(self, kept: Characteristic, config: ChartConfig, event: Event, value: float) -> list[Effect]:
        if config.lower is None and config.upper is None:
            return []
        kept.values = [*kept.values, value][-config.capability_of :]
        kept.fresh += 1
        if kept.fresh < config.capability_of:
            return []
        kept.fresh = 0
        found = asdict(capability(kept.values, config.lower, config.upper, config.size))
        effects: list[Effect] = [
            Emit(self._path(event.key, f"{config.name}/{name}"), found[name], event.time_ns, "kpi")
            for name in ("cp", "cpk", "pp", "ppk")
            if found[name] is not None
        ]
        data = {**found, "lower": config.lower, "upper": config.upper}
        path = self._path(event.key, f"{config.name}/capability")
        return [*effects, EmitEvent(path, "millstream.spc.capability", data, event.time_ns)]


def _build(name: str, inputs: tuple[Input, ...], config: SpcConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    found = Inputs(config.names, None)
    whole = (*inputs, *asks(inputs, config.output, None, depth=2))
    step, said = _Control(config, found), ("alarm", "event", "kpi")
    return in_order(Flow(name, whole, step, Process, Process, found.key, None, said, time, version))


SPC = FlowType(
    "spc", SpcConfig, _build,
    "Statistical process control: Shewhart charts of individual values and of means (X-bar) with the rules of Western "
    "Electric, CUSUM and EWMA, whose limits are given or learnt once; Cp, Cpk, Pp and Ppk against a tolerance. A rule "
    "that is broken raises an alarm with the same life as those of `alarm`.",
)  # fmt: skip
