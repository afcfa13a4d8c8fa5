"""How long until something that wears reaches its limit, with an interval, or why that cannot be said.

A line through the newest values by Theil and Sen (P. K. Sen, "Estimates of the regression coefficient based on
Kendall's tau", J. American Statistical Association 63, 1968): the median of the slopes of all pairs, with the
confidence interval of that paper. Up to 29 % of the values may be wrong without moving it far. An exponential trend is
a line through logarithms. Three things make such an interval too narrow, and each widens it here:

- neighbours that are alike: by the first autocorrelation of what is beside the line;
- wear that itself wanders (a Wiener process with drift, as in C. J. Lu and W. Q. Meeker, Technometrics 35, 1993, and
  many after them): its variance is what differences over long distances have more than those over short ones, and it
  grows with the time ahead;
- wear that gets faster: the near end of the interval is where it comes if it goes on to get faster by as much as the
  halves of the line can differ. When it slows down by more than chance, nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Any

from millstream.kernel import needs_extra

if TYPE_CHECKING:
    from collections.abc import Callable

MAD_SIGMA = 1.4826
ALIKE_MAX = 0.9  # a first autocorrelation above it is taken as this
LONG_SHARE = 4  # a long distance is this part of all values
WALK_SLOPE = 1.2  # variance of the slope of a line through n steps of a random walk, in its variance by n
END_SPREAD = 2.0  # the standard error at the end of a line through n points is sigma * 2 / sqrt(n)


@dataclass(frozen=True, slots=True)
class LifeRules:
    """The limit, whether the trend is exponential, how sure the interval is (0.9: nine of ten), how many times the
    stretch that was seen it may look ahead, and how many values it needs."""

    limit: float
    is_exponential: bool
    confidence: float
    horizon: float
    values_min: int


@dataclass(frozen=True, slots=True)
class Remaining:
    """How far it is to the limit, in the unit of x: best guess, and the interval."""

    mid: float
    low: float
    high: float


class LifeLine:
    """Works it out. The only place that loads scipy.stats."""

    def __init__(self, rules: LifeRules) -> None:
        """Raises ConfigError (MS-0106) without scipy."""
        with needs_extra("a flow of type remaining_life", "predict"):
            from scipy.stats import theilslopes
        self._slopes: Callable[..., Any] = theilslopes
        self._rules = rules

    def remaining(self, x: Sequence[float], y: Sequence[float]) -> Remaining | str:
        """From the newest x on; a text says why not."""
        rules = self._rules
        if len(y) < rules.values_min:
            return f"{len(y)} of {rules.values_min} values"
        if rules.is_exponential and min(y) <= 0:
            return "an exponential trend needs values above zero"
        limit = math.log(rules.limit) if rules.is_exponential else rules.limit
        values = [math.log(value) for value in y] if rules.is_exponential else list(y)
        if limit < median(values[: max(3, len(values) // 4)]):  # it falls towards its limit
            limit, values = -limit, [-value for value in values]
        line = self._line(x, values)
        if not line.half < line.slope < math.inf:
            return "no trend"
        middle = len(values) // 2
        before, after = self._line(x[:middle], values[:middle]), self._line(x[middle:], values[middle:])
        bend = after.slope - before.slope
        is_bent = abs(bend) > math.hypot(before.half, after.half)
        if is_bent and bend < 0:
            return "the wear slows down"
        ahead = limit - line.level
        mid = ahead / line.slope
        if mid > rules.horizon * (x[-1] - x[0]):
            return f"more than {rules.horizon:g} times as far ahead as there are values"
        z = NormalDist().inv_cdf((1 + rules.confidence) / 2)
        walk = z * math.sqrt(line.walk)
        low = _reach(ahead - line.unsure, line.slope + line.half, walk)
        high = _reach(ahead + line.unsure, line.slope - line.half, -walk)
        later = x[-1] - x[middle]
        faster = 2 * (bend + math.hypot(before.half, after.half)) / (x[-1] - x[0])  # at most, of the slope by x
        if faster > 0:
            low = min(low, _reach_faster(limit - after.level - after.unsure, after.slope + faster * later / 2, faster))
        if is_bent:
            faster = 2 * bend / (x[-1] - x[0])
            mid = _reach_faster(limit - after.level, after.slope + faster * later / 2, faster)
        return Remaining(max(mid, 0.0), low, high)

    def _line(self, x: Sequence[float], values: Sequence[float]) -> _Line:
        found = self._slopes(values, x, alpha=self._rules.confidence, method="joint")
        slope, middle = float(found[0]), float(found[1])
        beside = [value - middle - slope * at for value, at in zip(values, x, strict=True)]
        wider, walk = _wider(beside), _walk(x, beside)
        sigma = MAD_SIGMA * median(abs(value) for value in beside)
        z = NormalDist().inv_cdf((1 + self._rules.confidence) / 2)
        half = max(slope - float(found[2]), float(found[3]) - slope) * wider
        half = math.hypot(half, z * math.sqrt(WALK_SLOPE * walk / (x[-1] - x[0])))
        return _Line(slope, half, middle + slope * x[-1], z * END_SPREAD * sigma * wider / math.sqrt(len(x)), walk)


@dataclass(frozen=True, slots=True)
class _Line:
    """Slope and how unsure it is, the level at the newest x and how unsure that is, the variance of the wandering in
    each unit of x."""

    slope: float
    half: float
    level: float
    unsure: float
    walk: float


def _reach(ahead: float, slope: float, walk: float) -> float:
    """The t where `slope * t + walk * sqrt(t)` is so far; infinite when never."""
    if ahead <= 0:
        return 0.0
    if slope <= 0:
        return math.inf
    return ((-walk + math.sqrt(walk * walk + 4 * slope * ahead)) / (2 * slope)) ** 2


def _reach_faster(ahead: float, slope: float, faster: float) -> float:
    """The t where `slope * t + faster * t * t / 2` is so far."""
    if ahead <= 0:
        return 0.0
    return 2 * ahead / (slope + math.sqrt(slope * slope + 2 * faster * ahead))


def _walk(x: Sequence[float], beside: Sequence[float]) -> float:
    """Variance of the wandering in each unit of x: what differences over long distances have more."""
    far = max(2, len(beside) // LONG_SHARE)
    near = _variance([b - a for a, b in pairwise(beside)])
    wide = _variance([b - a for a, b in zip(beside, beside[far:], strict=False)])
    step = (x[-1] - x[0]) / (len(x) - 1)
    return max(wide - near, 0.0) / (step * (far - 1)) if step > 0 else 0.0


def _variance(differences: Sequence[float]) -> float:
    return (MAD_SIGMA * median(abs(value) for value in differences)) ** 2


def _wider(beside: Sequence[float]) -> float:
    """By how much an interval is too narrow that took these for independent."""
    power = math.fsum(value * value for value in beside)
    if power <= 0:
        return 1.0
    alike = math.fsum(a * b for a, b in pairwise(beside)) / power
    alike = min(max(alike, 0.0), ALIKE_MAX)
    return math.sqrt((1 + alike) / (1 - alike))
