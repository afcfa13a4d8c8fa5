"""Samples in another unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

from millstream.flow._model import Effect, Emit, Event, Flow, Input, TimePolicy
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath, number
from millstream.kernel import ConfigError

UNIT_LENGTH_MAX = 64
PAIRS_MAX = 4096
_LARGE_POWER = re.compile(r"(?:\*\*|\^)\D{0,3}\d\d|[\d)]\s*(?:\*\*|\^)")  # pint computes what is written, however large


class UnitConversionConfig(FlowConfig):
    """From which unit into which."""

    to: str
    """Unit of the result, such as `degC`, `bar`, `m/s`."""
    source: str | None = None
    """Unit of the samples; without it the one that they carry."""
    output: OutputName = "{name}_{unit}"
    """Name of the result, at the same place; `{name}` stands for the input's name, `{unit}` for the unit."""
    kind: Literal["tag", "count", "kpi", "state"] | None = None
    """What the result is; without it what the input is."""


class Conversion(NamedTuple):
    """value x factor + offset."""

    factor: Fraction
    offset: Fraction


@cache
def _registry() -> Any:
    import pint  # takes most of a second, so it is loaded by the flow that needs it

    return pint.UnitRegistry(cache_folder=None, non_int_type=Fraction)


def conversion(source: str, to: str) -> Conversion:
    """Exact, from pint's definitions; remembered, so that it costs nothing per sample. Raises ConfigError for an
    unknown unit, two that do not measure the same, or a scale that is not linear (dB)."""
    found = _find(source[: UNIT_LENGTH_MAX + 1], to[: UNIT_LENGTH_MAX + 1])
    if isinstance(found, str):
        raise ConfigError(found, got=f"{source[:UNIT_LENGTH_MAX]!r} to {to[:UNIT_LENGTH_MAX]!r}")
    return found


@lru_cache(PAIRS_MAX)
def _find(source: str, to: str) -> Conversion | str:
    """The conversion, or what is wrong."""
    if max(len(source), len(to)) > UNIT_LENGTH_MAX or _LARGE_POWER.search(f"{source} {to}"):
        return "not a unit"
    registry = _registry()
    try:
        zero, one, two = (Fraction(registry.Quantity(Fraction(n), source).to(to).magnitude) for n in (0, 1, 2))
    except Exception:  # noqa: BLE001 - a parser of expressions: it raises many things for what is no unit
        return "units that do not measure the same"
    return Conversion(one - zero, zero) if two - one == one - zero else "not a linear scale"


def convert(value: float, by: Conversion) -> float | int:
    """The value in the other unit: an integer times a whole factor stays one."""
    if isinstance(value, int):
        exact = value * by.factor + by.offset
        return int(exact) if exact.denominator == 1 else float(exact)
    return value * float(by.factor) + float(by.offset)


class _Convert:
    def __init__(self, config: UnitConversionConfig) -> None:
        self._config = config
        self._path = OutputPath(config.output.replace("{unit}", config.to.replace("/", "_per_").replace("*", "")))

    def __call__(self, state: int, event: Event) -> tuple[int | None, Sequence[Effect]]:
        config = self._config
        source = config.source or event.unit
        if source is None:
            raise ValueError("the sample carries no unit, and the flow names none (source)")
        value = number(event.value)
        if value is None and event.value is not None:
            raise ValueError(f"not a number: {event.value!r:.60}")
        result = convert(value, conversion(source, config.to)) if value is not None else None
        kind = config.kind or event.kind
        return None, (Emit(self._path(event.key), result, event.time_ns, kind, event.quality, config.to),)


def _build(
    name: str, inputs: tuple[Input, ...], config: UnitConversionConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    conversion(config.source or config.to, config.to)  # a wrong unit is told now; and pint is loaded
    step = _Convert(config)
    kinds = (config.kind,) if config.kind is not None else tuple(dict.fromkeys(i.kind for i in inputs))
    return Flow(name, inputs, step, int, int, OutputPath(config.output).key, None, kinds, time, version)


UNIT_CONVERSION = FlowType(
    "unit_conversion", UnitConversionConfig, _build,
    "Gives each sample in another unit, with the exact factor of pint's definitions. A sample whose unit does not fit "
    "goes into quarantine.",
)  # fmt: skip
