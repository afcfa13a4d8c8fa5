"""A flow that scores the newest values of a machine with a model which was trained elsewhere."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pydantic import Field, ValidationError, model_validator

from millstream.flow._model import CancelTimer, Effect, Emit, EmitEvent, Event, Flow, Input, SetTimer, TimePolicy
from millstream.flow._order import in_order
from millstream.flow._scorer import Scorer
from millstream.flow.library._alarm_life import AlarmLife, AlarmLifeConfig, KeptAlarm, asks, life_asked
from millstream.flow.library._inputs import Inputs, Names
from millstream.flow.library._type import OutputName, number
from millstream.kernel import ConfigError
from millstream.shop import stability_index

WINDOW, UNUSUAL = "window", "unusual"
DIGITS = 4
SAID = ("alarm", "event", "kpi")


class ModelConfig(AlarmLifeConfig):
    """Which tags go into the model, and when its score is too high."""

    names: Names
    """The tags of the model's inputs, by the names that its card has for them."""
    threshold: float | None = None
    """From this score on the alarm holds; left out: what the card says."""
    drift: float = Field(default=0.25, gt=0)
    """The event `drift` comes when an input is spread so differently from what the model was trained on (population
    stability index: below 0.1 nothing has changed, above 0.25 the model should be trained anew)."""
    drift_rows: int = Field(default=500, ge=50, le=1_000_000)
    """The spread is looked at after so many rows each time."""
    output: OutputName = "model"
    """At the same place: figures `<output>/score` and `<output>/<input>/drift`, the alarm `<output>/unusual`, events
    `<output>/drift` and `<output>/unknown`."""

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        if "{" in self.output:
            raise ValueError("output is a plain name")
        return self


class Row(msgspec.Struct, array_like=True):
    """The row that is being filled (sums and counts by input, up to `until_ns`), how many values of each bin came since
    the last look at the spread, what was told of it, and why there was no score last time."""

    until_ns: int = 0
    sums: list[float] = []
    counts: list[int] = []
    bad: list[str] = []
    bins: list[list[int]] = []
    rows: int = 0
    drifted: list[str] = []
    unknown: str = ""
    alarms: dict[str, KeptAlarm] = {}


class _Score:
    """The step."""

    def __init__(self, config: ModelConfig, inputs: Inputs, scorer: Scorer, digest: str) -> None:
        self._config, self._inputs, self._scorer = config, inputs, scorer
        self._names = [each.name for each in scorer.card.inputs]
        self._places = {name: index for index, name in enumerate(self._names)}
        self._threshold = scorer.card.threshold if config.threshold is None else config.threshold
        self._of = {"model": scorer.card.name, "version": scorer.card.version, "digest": digest}
        self._life = AlarmLife(UNUSUAL, self._path, config, of=scorer.card.name, limit=self._threshold)

    def _path(self, key: str, name: str) -> str:
        return f"{key}:{self._config.output}/{name}"

    def __call__(self, state: Row, event: Event) -> tuple[Row, Sequence[Effect]]:
        if event.is_timer:
            if event.timer == WINDOW:
                return state, self._full(state, event.key)
            return state, self._life.on_timer(state.alarms, event.key, event.time_ns)
        if event.kind == "ack":
            life = life_asked({UNUSUAL: self._life}, self._config.output, event)
            return state, life.asked(state.alarms, event)
        name = self._inputs.name(event)
        if name is None:
            return state, ()
        every_ns, effects = self._scorer.card.every_ns, list[Effect]()
        if state.until_ns and event.time_ns >= state.until_ns:
            effects += self._full(state, event.key)
        if event.is_late or event.time_ns < state.until_ns - every_ns:
            return state, effects  # its row is gone
        if not state.until_ns:
            state.until_ns = event.time_ns - event.time_ns % every_ns + every_ns
            state.sums, state.counts, state.bad = [0.0] * len(self._names), [0] * len(self._names), []
            effects.append(SetTimer(WINDOW, state.until_ns))
        value = None if event.value is None or event.quality.is_bad else number(event.value)
        if value is None:
            state.bad = sorted({*state.bad, name})
        else:
            at = self._places[name]
            state.sums[at] += value
            state.counts[at] += 1
        return state, effects

    def _full(self, state: Row, key: str) -> list[Effect]:
        """The row has all that will come."""
        at_ns, state.until_ns = state.until_ns, 0
        missing = [name for name, count in zip(self._names, state.counts, strict=True) if not count]
        why = f"{state.bad[0]} was bad" if state.bad else f"{missing[0]} was missing" if missing else ""
        effects: list[Effect] = [CancelTimer(WINDOW)]
        if why:
            if why != state.unknown:
                data = {"why": why, **self._of}
                path = self._path(key, "unknown")
                effects.append(EmitEvent(path, "millstream.model.unknown", data, at_ns))
            state.unknown = why
            return effects
        state.unknown = ""
        row = [total / count for total, count in zip(state.sums, state.counts, strict=True)]
        [score] = self._scorer.scores([row])
        effects.append(Emit(self._path(key, "score"), score, at_ns, "kpi"))
        holds = score >= self._threshold
        effects += self._life.observe(state.alarms, key, at_ns, holds=holds, value=score)
        return [*effects, *self._spread(state, key, at_ns, row)]

    def _spread(self, state: Row, key: str, at_ns: int, row: Sequence[float]) -> list[Effect]:
        inputs = self._scorer.card.inputs
        if not state.bins:
            state.bins = [[0] * len(each.counts) for each in inputs]
        for counts, each, value in zip(state.bins, inputs, row, strict=True):
            counts[bisect_right(each.edges, value)] += 1
        state.rows += 1
        if state.rows < self._config.drift_rows:
            return []
        found = {
            each.name: round(stability_index(each.counts, c), 4) for each, c in zip(inputs, state.bins, strict=True)
        }
        state.bins, state.rows = [], 0
        effects: list[Effect] = [
            Emit(self._path(key, f"{name}/drift"), index, at_ns, "kpi") for name, index in found.items()
        ]
        drifted = [name for name, index in found.items() if index >= self._config.drift]
        if drifted != state.drifted:
            data = {"drifted": drifted, "index": found, "rows": self._config.drift_rows, **self._of}
            effects.append(EmitEvent(self._path(key, "drift"), "millstream.model.drift", data, at_ns))
        state.drifted = drifted
        return effects


def scored_flow(
    data: bytes, name: str, inputs: tuple[Input, ...], config: Mapping[str, Any], digest: str, *, version: int = 1,
    time: TimePolicy | None = None,
) -> Flow[Any]:  # fmt: skip
    """The flow of a model's file. Raises ConfigError: MS-0716, MS-0106, and for a configuration that does not fit."""
    try:
        checked = ModelConfig.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ConfigError(
            first["msg"].removeprefix("Value error, "),
            where=f"{name}: config.{place}",
            got=repr(first.get("input"))[:80],
        ) from error
    scorer = Scorer(data, name)
    wanted = sorted(each.name for each in scorer.card.inputs)
    if sorted(checked.names) != wanted:
        raise ConfigError(
            "the names are not the inputs of the model", where=f"{name}: config.names", expected=", ".join(wanted),
            got=", ".join(sorted(checked.names)),
        )  # fmt: skip
    found = Inputs(checked.names, None)
    step = _Score(checked, found, scorer, digest)
    whole = (*inputs, *asks(inputs, checked.output, None))
    return in_order(Flow(name, whole, step, Row, Row, found.key, None, SAID, time or TimePolicy(), version))
