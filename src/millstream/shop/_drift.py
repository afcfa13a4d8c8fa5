"""Whether numbers are still spread as they were: the population stability index. Pure.

PSI = sum((now - was) * ln(now / was)) over bins that each held an equal share of what was learnt from (N. Siddiqi,
"Credit Risk Scorecards", Wiley 2006, chapter 9, where below 0.1 is stable and above 0.25 a shift). Bins are smoothed by
half a count, so that an empty one is far but not infinitely far.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

BINS = 10
HALF = 0.5


def edges_of(values: Sequence[float]) -> list[float]:
    """Inner edges of bins with equal shares: the quantiles, each once."""
    ordered = sorted(values)
    found = [ordered[min(len(ordered) - 1, len(ordered) * n // BINS)] for n in range(1, BINS)]
    return sorted(set(found))


def counts_of(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """How many values each bin holds: one more than edges."""
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_right(edges, value)] += 1
    return counts


def stability_index(was: Sequence[int], now: Sequence[int]) -> float:
    """Of two counts over the same bins; 0: alike."""
    total_was, total_now = sum(was) + HALF * len(was), sum(now) + HALF * len(now)
    parts = [((b + HALF) / total_now, (a + HALF) / total_was) for a, b in zip(was, now, strict=True)]
    return math.fsum((b - a) * math.log(b / a) for b, a in parts)
