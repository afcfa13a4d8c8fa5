"""Anomalies of any number, found without limits that somebody has to know: what is usual is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._alarm_life import TIMER, AlarmLife, AlarmLifeConfig, KeptAlarm, asks, life_asked
from millstream.flow.library._inputs import Inputs, Names
from millstream.flow.library._type import FlowType, OutputName, nanoseconds, number
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration
from millstream.shop import LongRun, Surprise

NAMES_MAX = 50  # each may have a timer of its alarm, and a key has 64
RECENT_MAX = 200
MEMORY_MAX = 10_000_000
LEARN_VALUES_MIN = 30  # times `recent`: a spread of so many separate means is known to about an eighth
SPREAD_RATIO = 2.0  # a spread that has doubled or halved has drifted
DIGITS = 6


class AnomalyConfig(AlarmLifeConfig):
    """Which numbers are watched, and how unusual is too much. The defaults come from what the numbers mean, not from
    recordings: see each."""

    names: Names
    """Short names of the tags: `{temperature: oven/temperature}`; at most 50."""
    output: OutputName = "anomaly"
    """At the same place: scores are `<output>/<name>/score`, alarms `<output>/<name>`, what was learnt and its drift
    are events under `<output>/<name>/learnt` and `<output>/<name>/drift`."""
    recent: int = Field(default=10, ge=1, le=RECENT_MAX)
    """So many of the newest values are judged together (10 as in the paper: one odd value is not an anomaly yet). 1
    judges each by itself."""
    memory: int = Field(default=8640, ge=100, le=MEMORY_MAX)
    """How many values back the long run reaches: by then the weight of a value has fallen to about a third (8640 as in
    the authors' own detector)."""
    learn: Duration = 86_400.0
    """From the first value on it learns for so long before it gives scores, and for 30 times `recent` values at least.
    A day has all shifts in it; take a week where the week-end differs."""
    threshold: float = Field(default=0.5, gt=0, le=1)
    """From this score on an alarm holds. 0.5 stands for one in 100,000, 0.6 for one in a million, and so on: the score
    is a tenth of the number of decimal places, where values are independent and normal. They seldom are, so real
    alarms come more often."""
    drift: float = Field(default=1.0, gt=0)
    """The event `drift` comes when the learnt mean has moved by so many of the learnt sigma, or the spread has doubled
    or halved; from then on the new one is what further drift is measured by."""

    @model_validator(mode="after")
    def _fits(self) -> AnomalyConfig:
        if len(self.names) > NAMES_MAX:
            raise ValueError(f"at most {NAMES_MAX} names")
        if "{" in self.output:
            raise ValueError("output is a plain name")
        return self


class Signal(msgspec.Struct, array_like=True):
    """One number: how usual it is, since when and from how many values that was learnt, and the long run as it stood
    when it was last told; None while it learns."""

    surprise: Surprise = msgspec.field(default_factory=Surprise)
    since_ns: int = 0
    count: int = 0
    told: LongRun | None = None


class Watched(msgspec.Struct, array_like=True):
    """Signals and alarms of one place, by name."""

    signals: dict[str, Signal] = {}
    alarms: dict[str, KeptAlarm] = {}


class _Watch:
    """The step."""

    def __init__(self, config: AnomalyConfig, inputs: Inputs) -> None:
        self._config, self._inputs = config, inputs
        self._learn_ns, self._learn_count = nanoseconds(config.learn), LEARN_VALUES_MIN * config.recent
        self._lives = {
            name: AlarmLife(name, self._path, config, of=tag, limit=config.threshold)
            for name, tag in config.names.items()
        }

    def _path(self, key: str, name: str) -> str:
        return f"{key}:{self._config.output}/{name}"

    def __call__(self, state: Watched, event: Event) -> tuple[Watched, Sequence[Effect]]:
        if event.is_timer:
            return state, self._lives[event.timer.removeprefix(TIMER)].on_timer(state.alarms, event.key, event.time_ns)
        if event.kind == "ack":
            life = life_asked(self._lives, self._config.output, event)
            return state, life.asked(state.alarms, event)
        name = self._inputs.name(event)
        if name is None or event.value is None or event.quality.is_bad:
            return state, ()
        value = number(event.value)
        if value is None:
            raise ValueError(f"not a number: {event.value!r:.60}")
        return state, self._heard(state, name, float(value), event)

    def _heard(self, state: Watched, name: str, value: float, event: Event) -> list[Effect]:
        config, signal = self._config, state.signals.get(name)
        if signal is None:
            signal = state.signals[name] = Signal(since_ns=event.time_ns)
        is_learning = signal.told is None
        score = signal.surprise.add(value, config.recent, config.memory, is_learning=is_learning)
        if is_learning:
            signal.count += 1
            if signal.count < self._learn_count or event.time_ns - signal.since_ns < self._learn_ns:
                return []
            data = {"since": format_time(signal.since_ns), "values": signal.count}
            return [self._learnt(signal, event, name, "learnt", data)]
        score = round(score, DIGITS)
        effects: list[Effect] = [Emit(self._path(event.key, f"{name}/score"), score, event.time_ns, "kpi")]
        holds = score >= config.threshold
        effects += self._lives[name].observe(state.alarms, event.key, event.time_ns, holds=holds, value=score)
        told, level = signal.told, signal.surprise.level
        assert told is not None
        spread = level.sigma / told.sigma
        if abs(told.distance(level.mean)) >= config.drift or not 1 / SPREAD_RATIO < spread < SPREAD_RATIO:
            was = {"was_mean": told.mean, "was_sigma": told.sigma}
            effects.append(self._learnt(signal, event, name, "drift", was))
        return effects

    def _learnt(self, signal: Signal, event: Event, name: str, what: str, more: dict[str, Any]) -> EmitEvent:
        level = signal.surprise.level
        signal.told = LongRun(level.count, level.mean, level.variance)
        data = {"mean": level.mean, "sigma": level.sigma, **more}
        return EmitEvent(self._path(event.key, f"{name}/{what}"), f"millstream.anomaly.{what}", data, event.time_ns)


def _build(name: str, inputs: tuple[Input, ...], config: AnomalyConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    found = Inputs(config.names, None)
    whole = (*inputs, *asks(inputs, config.output, None))
    said = ("alarm", "event", "kpi")
    return in_order(Flow(name, whole, _Watch(config, found), Watched, Watched, found.key, None, said, time, version))


ANOMALY = FlowType(
    "anomaly", AnomalyConfig, _build,
    "Watches numbers (tags, or features of `waveform` with an input of kind `kpi`) and scores how unlikely the newest "
    "ones are by what was usual in the long run: 0 is usual, 1 is what never happens. The method is the anomaly "
    "likelihood of Lavin and Ahmad (2015), over the value itself and over how far it moves. A score that reaches the "
    "threshold raises an alarm with the same life as those of `alarm`.",
)  # fmt: skip
