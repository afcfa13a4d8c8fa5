"""What `onboard` proposes for a device: names, units, deadbands. Pure: from descriptions and observed values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from millstream.edge._naming import snake_case, unique, words
from millstream.edge._unit_words import unit_of_device, unit_of_name
from millstream.model import Sample, Value
from millstream.sdk import NodeInfo

VALUES_COUNT_MIN = 12  # observed values below which noise cannot be told from movement
NOISE_FACTOR = 3.0  # a deadband of so many standard deviations holds back nearly all of the noise
MAD_TO_SIGMA = 1.4826  # of normally distributed values
DESCRIPTION_CHARACTERS_MAX = 200
GROUPS_COUNT_MAX = 6
_STEPS = (5.0, 2.0, 1.0)


@dataclass(frozen=True, slots=True)
class TagProposal:
    """One tag. `unit_source` is device or name; `unit_guess` is for a person to look at, it is not configured.

    `value` and `quality` are the last observed ones; `values_count` says how many were seen. `is_left_out` when the
    device says that there is no such tag.
    """

    name: str
    address: str
    unit: str | None = None
    unit_source: str | None = None
    unit_guess: str | None = None
    deadband: float | None = None
    description: str | None = None
    data_type: str | None = None
    value: Value | None = None
    quality: str | None = None
    values_count: int = 0
    is_left_out: bool = False
    factor: float = 1.0
    offset: float = 0.0


@dataclass(slots=True)
class Observed:
    """The samples of one address, oldest first, bounded by whoever adds them."""

    samples: list[Sample] = field(default_factory=list)


def propose(nodes: Sequence[NodeInfo], observed: Mapping[str, Observed]) -> list[TagProposal]:
    """A proposal for each node, in order; names are unique, and groups that all nodes share are left out."""
    shared = _shared_groups(nodes)
    taken: set[str] = set()
    return [_one(node, shared, taken, observed.get(node.address)) for node in nodes]


def _shared_groups(nodes: Sequence[NodeInfo]) -> int:
    """How many first groups are the same for all: they only say again which device it is."""
    if not nodes:
        return 0
    first, count = nodes[0].groups, 0
    while count < len(first) and all(node.groups[: count + 1] == first[: count + 1] for node in nodes):
        count += 1
    return count


def _one(node: NodeInfo, shared: int, taken: set[str], observed: Observed | None) -> TagProposal:
    groups = [snake_case(group) for group in node.groups[shared:][-GROUPS_COUNT_MAX:]]
    own = snake_case(node.name)
    place = "/".join([*groups, ""])
    name = place + unique(own, _names_below(taken, place))
    taken.add(name)
    samples = observed.samples if observed is not None else []
    last = samples[-1] if samples else None
    unit, source, guess = _unit(node, samples)
    is_missing = last is not None and last.quality.label == "BadNodeIdUnknown"
    return TagProposal(
        name=name,
        address=node.address,
        unit=unit,
        unit_source=source,
        unit_guess=guess,
        deadband=_deadband_of([_scaled(sample, node) for sample in samples] if node.is_scaled else samples),
        description=_description(node),
        data_type=node.data_type,
        value=None if last is None else (_scaled(last, node) if node.is_scaled else last).value,
        quality=None if last is None else last.quality.label,
        values_count=len(samples),
        is_left_out=is_missing,
        factor=node.factor,
        offset=node.offset,
    )


def _names_below(taken: set[str], place: str) -> set[str]:
    """The last names that a group has already."""
    return {name.removeprefix(place) for name in taken if name.startswith(place) and "/" not in name[len(place) :]}


def _unit(node: NodeInfo, samples: Sequence[Sample]) -> tuple[str | None, str | None, str | None]:
    if node.unit:
        unit = unit_of_device(node.unit)
        return (unit, "device", None) if unit is not None else (None, None, node.unit[:64])
    if samples and not any(_is_number(sample.value) for sample in samples if sample.quality.is_good):
        return None, None, None
    if node.data_type is not None and node.data_type.lower() in ("boolean", "bool", "string", "datetime"):
        return None, None, None
    unit, guess = unit_of_name(words(node.name))
    return unit, None if unit is None else "name", guess


def _description(node: NodeInfo) -> str | None:
    text = " ".join((node.description or "").split())[:DESCRIPTION_CHARACTERS_MAX]
    return text if text and text != node.name else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scaled(sample: Sample, node: NodeInfo) -> Sample:
    """As the edge will store it."""
    value = sample.value
    return replace(sample, value=value * node.factor + node.offset) if _is_number(value) else sample  # type: ignore


def _deadband_of(samples: Sequence[Sample]) -> float | None:
    """Only of floats: whole numbers are mostly counters and states, of which each step counts."""
    values = [s.value for s in samples if s.quality.is_good and isinstance(s.value, float) and math.isfinite(s.value)]
    return deadband(values)


def deadband(values: Sequence[float]) -> float | None:
    """A deadband that holds back the noise of `values`, as 1, 2 or 5 times a power of ten; None when there is none.

    The noise is estimated from second differences, so that a slow rise or wave is no noise, and by their median, so
    that single jumps are none either. Totals, which only ever rise, get no deadband.
    """
    if len(values) < VALUES_COUNT_MIN:
        return None
    steps = [later - sooner for sooner, later in pairwise(values)]
    if all(step >= 0 for step in steps) or all(step <= 0 for step in steps):
        return None
    bends = [abs(later - sooner) for sooner, later in pairwise(steps)]
    sigma = MAD_TO_SIGMA * median(bends) / math.sqrt(6)
    limit = NOISE_FACTOR * sigma
    largest = max(abs(value) for value in values)
    if not math.isfinite(limit) or limit <= largest * 1e-12:
        return None
    return _rounded_down(limit)


def _rounded_down(value: float) -> float | None:
    """The largest of 1, 2, 5 times a power of ten that is not above `value`; None where floats end."""
    power = math.floor(math.log10(value))
    for exponent in (power, power - 1):
        for step in _STEPS:
            found = float(f"{step:g}e{exponent}")
            if 0 < found <= value:
                return found
    return None
