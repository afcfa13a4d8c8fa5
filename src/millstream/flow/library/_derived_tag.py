"""A tag that is computed from others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from millstream.flow._expression import Expression
from millstream.flow._model import Effect, Emit, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._inputs import Inputs, Latest, Names, values_of, worst_of
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath
from millstream.model import BAD_OUT_OF_RANGE


class DerivedTagConfig(FlowConfig):
    """What is computed."""

    names: Names
    """Short names of the tags: `{u: power/voltage, i: power/current}`."""
    expression: str
    """Such as `u * i / 1000`; see above for what it may hold."""
    output: OutputName
    """Name of the result, at the same place."""
    unit: str | None = None
    """Unit of the result."""
    kind: Literal["tag", "count", "kpi", "state"] = "tag"
    """What the result is."""
    levels: int | None = Field(default=None, ge=1, le=12)
    """Take the inputs of everything below the place that many levels from the top, written `below/it:name`."""


class _Derive:
    def __init__(self, config: DerivedTagConfig, expression: Expression, inputs: Inputs) -> None:
        self._config, self._expression, self._inputs = config, expression, inputs
        self._path = OutputPath(config.output)

    def __call__(self, state: dict[str, Latest], event: Event) -> tuple[dict[str, Latest], Sequence[Effect]]:
        name = self._inputs.name(event)
        if name is None:
            return state, ()
        state[name] = Latest(event.value, int(event.quality))
        names = self._expression.names
        if name not in names or not names <= state.keys():
            return state, ()
        quality = worst_of(state, names)
        value = self._expression(values_of(state))
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            value = None
            quality = quality if quality.is_bad else BAD_OUT_OF_RANGE
        config = self._config
        return state, (Emit(self._path(event.key), value, event.time_ns, config.kind, quality, config.unit),)


def _build(
    name: str, inputs: tuple[Input, ...], config: DerivedTagConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    expression = Expression(config.expression, config.names)
    found = Inputs(config.names, config.levels)
    step = _Derive(config, expression, found)
    return in_order(
        Flow(name, inputs, step, dict, dict[str, Latest], found.key, None, (config.kind,), time, version)
    )  # fmt: skip


DERIVED_TAG = FlowType(
    "derived_tag", DerivedTagConfig, _build,
    "Computes a tag from others of the same place, each time one of them changes and all are known. The quality is the "
    "worst of the inputs; a result that is none (a division by zero) is a sample without value and of bad quality.",
)  # fmt: skip
