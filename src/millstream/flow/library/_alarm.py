"""Alarms of a machine by what its tags say: limits, rates, missing data, a neighbour that differs, states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec
from pydantic import Field, model_validator

from millstream.flow._expression import Expression
from millstream.flow._model import Effect, Event, Flow, Input, SetTimer, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._alarm_life import TIMER, AlarmLife, AlarmLifeConfig, KeptAlarm, asks, life_asked
from millstream.flow.library._inputs import Inputs, Latest, Names, values_of
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds, number
from millstream.sdk import Duration

MISSING = "missing "
CONDITIONS_MAX = 24  # two timers each
POINTS_MAX = 32  # of a rate's window; what comes faster is thinned
SISTERS_MIN = 2  # of which a median says something
SORTS = ("above", "below", "rate", "missing", "differs", "states")


class ConditionConfig(AlarmLifeConfig):
    """One alarm. Exactly one of `above`, `below`, `rate`, `missing`, `differs` and `states` says when it holds."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    """Its name, such as `hihi`."""
    of: str
    """The short name of the tag that it watches."""
    above: float | None = None
    """Holds above this value (`hi`, `hihi`)."""
    below: float | None = None
    """Holds below this value (`lo`, `lolo`)."""
    deadband: float = Field(default=0.0, ge=0)
    """How far back behind the limit the value has to come before the condition is gone."""
    rate: float | None = Field(default=None, gt=0)
    """Holds when the value changes by more than this a second, up or down, measured over `within`."""
    within: Duration = 60.0
    """Over which time a rate is measured."""
    missing: Duration | None = None
    """Holds when no good value came for so long."""
    differs: float | None = Field(default=None, gt=0)
    """Holds when the value is further than this from what is expected: `neighbour`, `expected` or `sisters`."""
    neighbour: str | None = None
    """The short name of the tag to compare with, such as a spare sensor, or the value that a model gives."""
    expected: str | None = None
    """An expression over the names that gives what is expected, a twin: `0.8 * speed + 3`. Without a value, as while
    one of its inputs is bad, nothing is said."""
    sisters: tuple[str, ...] = Field(default=(), max_length=100)
    """The short names of tags of machines alike (see `levels`): the median of those that are good is expected; with
    fewer than two of them nothing is said."""
    states: tuple[bool | int | float | str, ...] = ()
    """Holds while the value is one of these."""
    suppress_when: str | None = None
    """Suppressed by design while this expression over the names holds, such as `running == "Stopped"`."""

    @model_validator(mode="after")
    def _one_sort(self) -> ConditionConfig:
        given = [sort for sort in SORTS if getattr(self, sort) not in (None, ())]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(SORTS)} says when an alarm holds")
        references = sum(each not in (None, ()) for each in (self.neighbour, self.expected, self.sisters))
        if references != (self.differs is not None):
            raise ValueError("differs goes with one of neighbour, expected and sisters")
        if self.of in self.sisters or len(set(self.sisters)) < len(self.sisters) or len(self.sisters) == 1:
            raise ValueError("sisters are two or more other tags, each once")
        if self.missing is not None and not self.missing:
            raise ValueError("missing must be longer than 0s")
        if self.rate is not None and not self.within:
            raise ValueError("within must be longer than 0s")
        return self

    @property
    def limit(self) -> Any:
        """What the value is compared with, for people."""
        return next(found for sort in SORTS if (found := getattr(self, sort)) not in (None, ()))


class AlarmConfig(FlowConfig):
    """Which tags are watched, and for what."""

    names: Names
    """Short names of the tags: `{temperature: oil/temperature, running: state}`."""
    conditions: tuple[ConditionConfig, ...] = Field(min_length=1, max_length=CONDITIONS_MAX)
    """The alarms."""
    output: OutputName = "alarm"
    """The alarms are `<output>/<name of the condition>` at the same place."""
    levels: int | None = Field(default=None, ge=1, le=12)
    """Watch the tags of everything below the place that many levels from the top, written `below/it:name`."""

    @model_validator(mode="after")
    def _known_names(self) -> AlarmConfig:
        for condition in self.conditions:
            for name in (condition.of, condition.neighbour, *condition.sisters):
                if name is not None and name not in self.names:
                    raise ValueError(f"{name!r} is not among the names: {', '.join(self.names)}")
        if len({condition.name for condition in self.conditions}) < len(self.conditions):
            raise ValueError("two conditions of one name")
        if "{" in self.output:
            raise ValueError("output is a plain name: alarms are of a place")
        return self


class Watched(msgspec.Struct, array_like=True):
    """The newest values by name; the points that rates are measured by, as (UTC ns, value), by condition; when the
    newest good value came, by name; the alarms that were ever more than normal."""

    values: dict[str, Latest] = {}
    points: dict[str, list[tuple[int, float]]] = {}
    good_ns: dict[str, int] = {}
    alarms: dict[str, KeptAlarm] = {}


class _Watch:
    """The step."""

    def __init__(self, config: AlarmConfig, inputs: Inputs) -> None:
        self._inputs, self._output = inputs, config.output
        self._conditions = {each.name: each for each in config.conditions}
        self._lives = {
            each.name: AlarmLife(each.name, self._path, each, of=config.names[each.of], limit=each.limit)
            for each in config.conditions
        }
        self._suppressions = {
            each.name: Expression(each.suppress_when, config.names) for each in config.conditions if each.suppress_when
        }
        self._expected = {
            each.name: Expression(each.expected, config.names) for each in config.conditions if each.expected
        }
        self._by_tag: Mapping[str, Sequence[ConditionConfig]] = {
            name: [c for c in config.conditions if name in self._names_of(c)] for name in config.names
        }

    def _names_of(self, condition: ConditionConfig) -> set[str | None]:
        expression = self._expected.get(condition.name)
        names = expression.names if expression is not None else ()
        return {condition.of, condition.neighbour, *condition.sisters, *names}

    def _path(self, key: str, name: str) -> str:
        return f"{key}:{self._output}/{name}"

    def __call__(self, state: Watched, event: Event) -> tuple[Watched, Sequence[Effect]]:
        if event.is_timer:
            return state, self._on_timer(state, event)
        if event.kind == "ack":
            return state, life_asked(self._lives, self._output, event).asked(state.alarms, event)
        name = self._inputs.name(event)
        if name is None:
            return state, ()
        is_good = event.value is not None and not event.quality.is_bad
        state.values[name] = Latest(event.value, int(event.quality))
        if is_good:
            state.good_ns[name] = max(event.time_ns, state.good_ns.get(name, 0))
        effects: list[Effect] = []
        for condition in self._by_tag[name]:
            effects += self._judge(state, condition, event, is_good=is_good and condition.of == name)
        for of, expression in self._suppressions.items():
            if name in expression.names:
                on = bool(expression(values_of(state.values)))
                effects += self._lives[of].suppress(state.alarms, event.key, event.time_ns, on=on)
        return state, effects

    def _on_timer(self, state: Watched, event: Event) -> list[Effect]:
        if event.timer.startswith(TIMER):
            return self._lives[event.timer.removeprefix(TIMER)].on_timer(state.alarms, event.key, event.time_ns)
        condition = self._conditions[event.timer.removeprefix(MISSING)]
        assert condition.missing is not None
        at_ns = state.good_ns.get(condition.of, 0) + nanoseconds(condition.missing)
        if at_ns > event.time_ns:
            return [SetTimer(event.timer, at_ns)]
        return self._lives[condition.name].observe(state.alarms, event.key, event.time_ns, holds=True)

    def _judge(self, state: Watched, condition: ConditionConfig, event: Event, *, is_good: bool) -> list[Effect]:
        """What a new value says about one condition; a bad one says nothing, only that none has come."""
        life, key, time_ns = self._lives[condition.name], event.key, event.time_ns
        if condition.missing is not None:
            if not is_good:  # the first of all may be bad: from then on one is missing
                known = state.good_ns.setdefault(condition.of, time_ns)
                return [SetTimer(MISSING + condition.name, known + nanoseconds(condition.missing))]
            timer = SetTimer(MISSING + condition.name, state.good_ns[condition.of] + nanoseconds(condition.missing))
            return [*life.observe(state.alarms, key, time_ns, holds=False), timer]
        latest = state.values.get(condition.of)
        if latest is None or latest.value is None or latest.quality >> 30 >= 2:
            return []
        if condition.states:
            holds = latest.value in condition.states
            return life.observe(state.alarms, key, time_ns, holds=holds, value=latest.value)
        value = number(latest.value)
        if value is None:
            raise ValueError(f"not a number: {latest.value!r:.60}")
        kept = state.alarms.get(condition.name)
        was = kept is not None and (kept.alarm.holds if kept.alarm.wants is None else kept.alarm.wants)
        found = self._holds(state, condition, event, value, was=was)
        return [] if found is None else life.observe(state.alarms, key, time_ns, holds=found, value=value)

    def _holds(
        self, state: Watched, condition: ConditionConfig, event: Event, value: float, *, was: bool
    ) -> bool | None:
        """None: nothing can be said. A condition that holds goes only behind the deadband."""
        back = condition.deadband if was else 0.0
        if condition.above is not None:
            return value > condition.above - back
        if condition.below is not None:
            return value < condition.below + back
        if condition.differs is not None:
            near = self._expects(condition, values_of(state.values))
            return None if near is None else abs(value - near) > condition.differs - back
        assert condition.rate is not None
        rate = _rate(state.points.setdefault(condition.name, []), event.time_ns, value, nanoseconds(condition.within))
        return None if rate is None else rate > condition.rate - back

    def _expects(self, condition: ConditionConfig, values: Mapping[str, Any]) -> float | None:
        """What the value should be; None: nobody can say."""
        if condition.sisters:
            known = [found for name in condition.sisters if (found := number(values.get(name))) is not None]
            return median(known) if len(known) >= SISTERS_MIN else None
        if condition.expected is not None:
            return number(self._expected[condition.name](values))
        return number(values.get(condition.neighbour or ""))


def _rate(points: list[tuple[int, float]], time_ns: int, value: float, within_ns: int) -> float | None:
    """Change a second since the oldest point of the window; None with one point. The last point of older ones stays,
    so that slow tags have a rate, too."""
    if points and time_ns <= points[-1][0]:
        return None
    while len(points) > 1 and points[1][0] <= time_ns - within_ns:
        points.pop(0)
    found = abs(value - points[0][1]) / ((time_ns - points[0][0]) / 1e9) if points else None
    if not points or time_ns - points[-1][0] >= within_ns // POINTS_MAX:
        points.append((time_ns, value))
    return found


def _build(name: str, inputs: tuple[Input, ...], config: AlarmConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    found = Inputs(config.names, config.levels)
    whole = (*inputs, *asks(inputs, config.output, config.levels))
    step = _Watch(config, found)
    return in_order(Flow(name, whole, step, Watched, Watched, found.key, None, ("alarm", "event"), time, version))


ALARM = FlowType(
    "alarm", AlarmConfig, _build,
    "Raises alarms of a machine and keeps their life after ISA-18.2: acknowledged, returned, latched, shelved, "
    "suppressed by design, out of service. Conditions are limits with a deadband, rates of change, missing data, a "
    "value that differs from what is expected (a neighbour, an expression, the median of machines alike), and "
    "states. Each change is an event of kind `alarm`; `millstream alarm` lists them and "
    "asks for what people do.",
)  # fmt: skip
