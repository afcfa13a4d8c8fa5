"""How unlikely the newest values are, measured by the long run. Pure.

The anomaly likelihood of Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly
Benchmark", 2015 (arXiv:1510.03336), and Ahmad, Lavin, Purdy and Agha, "Unsupervised real-time anomaly detection for
streaming data", Neurocomputing 262, 2017, section 3.2: the mean of the newest values is compared with the normal
distribution that such means had in the long run, and the tail probability is what counts. The paper feeds it with the
errors of a neural predictor. Here two plain numbers go in: the value itself (is it where it never was) and its
distance from the smoothed value before it (does it move as it never did).

Long-run mean and variance forget exponentially (D. H. D. West, "Updating mean and variance estimates", CACM 22, 1979,
with a bounded weight), so what is kept does not grow.
"""

from __future__ import annotations

import math

import msgspec

WINSOR = 4.0  # sigma: what lies further out pulls the long run no more than this (Huber)
SIGMA_MIN = 1e-9  # of the mean's size: below it is rounding
TAIL_DIGITS = 10.0  # a tail of 10^-10 is a score of 1


class LongRun(msgspec.Struct, array_like=True):
    """Mean and variance of what was heard, of which there were `count`."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    @property
    def sigma(self) -> float:
        """Standard deviation, never zero."""
        return max(math.sqrt(self.variance), SIGMA_MIN * max(abs(self.mean), 1e-3))

    def add(self, value: float, memory: int, *, bounded: bool) -> None:
        """One more; `memory` values back its weight has fallen to 1/e. `bounded`: outliers pull less."""
        if bounded:
            reach = WINSOR * self.sigma
            value = min(max(value, self.mean - reach), self.mean + reach)
        self.count = min(self.count + 1, memory)
        weight = 1 / self.count
        distance = value - self.mean
        self.mean += weight * distance
        self.variance = (1 - weight) * (self.variance + weight * distance * distance)

    def distance(self, value: float) -> float:
        """From the mean, in sigma."""
        return (value - self.mean) / self.sigma


class Surprise(msgspec.Struct, array_like=True):
    """What is kept of one signal: the newest values and their newest errors, the smoothed value, the long run of the
    means of both."""

    values: list[float] = []
    errors: list[float] = []
    smooth: float = 0.0
    level: LongRun = msgspec.field(default_factory=LongRun)
    movement: LongRun = msgspec.field(default_factory=LongRun)

    def add(self, value: float, recent: int, memory: int, *, is_learning: bool) -> float:
        """The score of a value, 0 to 1; 0 while it learns. `recent` values are averaged, `memory` is the long run."""
        error = abs(value - self.smooth) if self.values else 0.0
        self.smooth += (value - self.smooth) * (2 / (recent + 1) if self.values else 1.0)
        self.values = [*self.values, value][-recent:]
        self.errors = [*self.errors, error][-recent:]
        if len(self.values) < recent:
            return 0.0
        level, movement = math.fsum(self.values) / recent, math.fsum(self.errors) / recent
        found = 0.0
        if not is_learning:
            both_tails = math.erfc(abs(self.level.distance(level)) / math.sqrt(2))
            upper_tail = math.erfc(self.movement.distance(movement) / math.sqrt(2)) / 2
            found = max(_score(both_tails), _score(upper_tail))
        self.level.add(level, memory, bounded=not is_learning)
        self.movement.add(movement, memory, bounded=not is_learning)
        return found


def _score(tail: float) -> float:
    """Probability as 0 to 1 on the logarithmic scale of the benchmark's own detector: 0.5 is one in 100,000."""
    if tail <= 0:
        return 1.0
    return min(max(0.0, -math.log10(tail) / TAIL_DIGITS), 1.0)
