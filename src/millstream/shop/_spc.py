"""Statistical process control: Shewhart charts with the Western Electric rules, CUSUM, EWMA, capability. Pure.

Limits are fixed once they are known, from the configuration or from the first points; a chart whose limits follow the
process would follow what it should find.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

# Mean range of n values of a normal distribution with standard deviation 1 (ISO 7870-2, table of control chart factors)
D2 = {2: 1.128, 3: 1.693, 4: 2.059, 5: 2.326, 6: 2.534, 7: 2.704, 8: 2.847, 9: 2.970, 10: 3.078}
WESTERN_ELECTRIC = ("we1", "we2", "we3", "we4")
"""One point beyond 3 sigma; two of three beyond 2 on one side; four of five beyond 1 on one side; eight on one side."""
RULES = (*WESTERN_ELECTRIC, "cusum", "ewma")
_RUNS = {"we2": (3, 2, 2.0), "we3": (5, 4, 1.0), "we4": (8, 8, 0.0)}  # of so many points so many beyond so many sigma
RECENT = 8


class Center(msgspec.Struct, frozen=True, array_like=True):
    """Where a process is when nothing is wrong: the mean of what is charted and its standard deviation."""

    mean: float
    sigma: float


@dataclass(frozen=True, slots=True)
class ChartRules:
    """How a chart judges. `cusum_k` and `cusum_h` are the reference value and the decision interval, `ewma_limit` the
    distance of the limits, all in sigma; `ewma_weight` is lambda."""

    cusum_k: float = 0.5
    cusum_h: float = 5.0
    ewma_weight: float = 0.2
    ewma_limit: float = 3.0


class Chart(msgspec.Struct, array_like=True):
    """What a chart remembers: its newest points in sigma from the mean, the two sums in sigma, and the weighted average
    in sigma."""

    recent: list[float] = []
    high: float = 0.0
    low: float = 0.0
    average: float = 0.0

    def add(self, center: Center, rules: ChartRules, value: float) -> tuple[str, ...]:
        """One more point; the rules that it breaks."""
        z = (value - center.mean) / center.sigma
        self.recent = [*self.recent, z][-RECENT:]
        self.high = max(0.0, self.high + z - rules.cusum_k)
        self.low = max(0.0, self.low - z - rules.cusum_k)
        self.average += rules.ewma_weight * (z - self.average)
        found = ["we1"] if abs(z) > 3.0 else []
        found += [name for name, (of, many, beyond) in _RUNS.items() if _is_run(self.recent[-of:], many, beyond)]
        if max(self.high, self.low) > rules.cusum_h:
            found.append("cusum")
        if abs(self.average) > ewma_limit(rules):
            found.append("ewma")
        return tuple(found)


def ewma_limit(rules: ChartRules) -> float:
    """How far the weighted average may be from the mean once it has settled, in sigma."""
    return rules.ewma_limit * math.sqrt(rules.ewma_weight / (2.0 - rules.ewma_weight))


def individuals(values: Sequence[float]) -> Center:
    """Mean and standard deviation by the moving range of two. Raises ValueError for values that do not vary."""
    ranges = [abs(b - a) for a, b in pairwise(values)]
    return _center(values, ranges, 2)


def subgroups(groups: Sequence[Sequence[float]]) -> Center:
    """Mean of the means and their standard deviation, by the ranges within subgroups of 2 to 10. Raises ValueError."""
    size = len(groups[0])
    found = _center([sum(g) / size for g in groups], [max(g) - min(g) for g in groups], size)
    return Center(found.mean, found.sigma / math.sqrt(size))


@dataclass(frozen=True, slots=True)
class Capability:
    """How a process fits its tolerance: `cp`, `cpk` by the variation from one part to the next (or within subgroups),
    `pp`, `ppk` by that of all parts; None where a limit is missing (cp, pp) or nothing varies."""

    count: int
    mean: float
    sigma_within: float
    sigma_overall: float
    cp: float | None
    cpk: float | None
    pp: float | None
    ppk: float | None


def capability(values: Sequence[float], lower: float | None, upper: float | None, size: int = 1) -> Capability:
    """Of individual values in their order, in subgroups of `size` when above 1. Raises ValueError for too few."""
    if len(values) < 2 * max(size, 2):
        raise ValueError("too few values for a capability")
    mean = sum(values) / len(values)
    overall = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    if size > 1:
        groups = [values[at : at + size] for at in range(0, len(values) - size + 1, size)]
        within = sum(max(g) - min(g) for g in groups) / len(groups) / D2[size]
    else:
        within = sum(abs(b - a) for a, b in pairwise(values)) / (len(values) - 1) / D2[2]
    cp, cpk = indices(mean, within, lower, upper)
    pp, ppk = indices(mean, overall, lower, upper)
    return Capability(len(values), mean, within, overall, cp, cpk, pp, ppk)


def indices(mean: float, sigma: float, lower: float | None, upper: float | None) -> tuple[float | None, float | None]:
    """The width of the tolerance over that of the process, and the same to the nearer limit."""
    if sigma <= 0:
        return None, None
    both = (upper - lower) / (6 * sigma) if upper is not None and lower is not None else None
    sides = [upper - mean] if upper is not None else []
    sides += [mean - lower] if lower is not None else []
    return both, min(sides) / (3 * sigma) if sides else None


def _center(points: Sequence[float], ranges: Sequence[float], size: int) -> Center:
    sigma = sum(ranges) / len(ranges) / D2[size]
    if sigma <= 0:
        raise ValueError("the values do not vary: a chart has no limits by them")
    return Center(sum(points) / len(points), sigma)


def _is_run(points: Sequence[float], many: int, beyond: float) -> bool:
    """The newest point has to be one of them: a run is told when it happens, not again behind it."""
    if len(points) < many or not points[-1]:
        return False
    side = 1.0 if points[-1] > 0 else -1.0
    return side * points[-1] > beyond and sum(side * z > beyond for z in points) >= many
