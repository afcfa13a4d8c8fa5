"""How well a detector finds labelled anomalies: scores after the Numenta Anomaly Benchmark, and events in plain counts.

Source: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly Benchmark",
arXiv:1510.03336, sections II.B and II.C, with the conventions of its published scorer: the first row of a window stands
at -1 and is worth a whole true positive, what lies behind a window costs the more the further it is away.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

PROBATION = 0.15  # of a series, in which a detector may learn and nothing counts
PROBATION_ROWS_MAX = 750


@dataclass(frozen=True, slots=True)
class Profile:
    """What a found window, a false detection and a missed window weigh."""

    name: str
    found: float
    false: float
    missed: float


PROFILES = (
    Profile("standard", 1.0, 0.11, 1.0),
    Profile("reward_low_fp_rate", 1.0, 0.22, 1.0),
    Profile("reward_low_fn_rate", 1.0, 0.11, 2.0),
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A series: times of its rows (UTC ns) and windows with an anomaly (first and last ns, in order). Where a clock was
    set back, its rows stand at the newest time before that.

    Raises ValueError for windows that overlap, hold no row, or lie in the rows that do not count.
    """

    name: str
    times_ns: Sequence[int]
    windows_ns: Sequence[tuple[int, int]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "times_ns", list(accumulate(self.times_ns, max)))
        for number, (first, last) in enumerate(self.spans(), 1):
            if first > last:
                is_backward = self.windows_ns[number - 1][0] > self.windows_ns[number - 1][1]
                why = "it ends before it begins" if is_backward else "the series has none at that time"
                raise ValueError(f"window {number} is without a row: {why}")
            if last < self.probation_rows:
                raise ValueError(f"a window within the first {self.probation_rows} rows, which do not count")
        if any(later[0] <= earlier[1] for earlier, later in pairwise(self.windows_ns)):
            raise ValueError("windows overlap or are not in order")

    @property
    def probation_rows(self) -> int:
        """Rows at the start that do not count."""
        return min(math.floor(PROBATION * len(self.times_ns)), PROBATION_ROWS_MAX)

    def spans(self) -> list[tuple[int, int]]:
        """First and last row of each window."""
        return [
            (bisect_left(self.times_ns, first), bisect_right(self.times_ns, last) - 1)
            for first, last in self.windows_ns
        ]

    def row_of(self, time_ns: int) -> int:
        """The row that was the newest at that time; -1 before the first."""
        return bisect_right(self.times_ns, time_ns) - 1


def sigmoid(position: float) -> float:
    """The value of a detection: near 1 at the front of a window (-1), 0 at its end (0), -1 far behind it."""
    return -1.0 if position > 3.0 else 2 / (1 + math.exp(5 * position)) - 1


def weights(series: Labelled) -> list[tuple[float, int | None]]:
    """What a detection at each row is worth before it is weighed, and its window; nothing in the rows on probation."""
    best, spans = sigmoid(-1.0), series.spans()
    found: list[tuple[float, int | None]] = []
    window, behind = 0, None  # the next or present window; the one that ended last
    for row in range(len(series.times_ns)):
        if window < len(spans) and row > spans[window][1]:
            behind, window = spans[window], window + 1
        if window < len(spans) and row >= spans[window][0]:
            first, last = spans[window]
            found.append((sigmoid(-(last - row + 1) / (last - first + 1)) / best, window))
        elif behind is None:
            found.append((-1.0, None))
        else:
            found.append((sigmoid((row - behind[1]) / max(behind[1] - behind[0], 1)), None))
    for row in range(series.probation_rows):
        found[row] = (0.0, None)
    return found


def raw_score(series: Labelled, rows: Iterable[int], profile: Profile) -> float:
    """Of detections at these rows: the earliest one in each window counts, and each one outside."""
    worth, false = weights(series), 0.0
    parts: dict[int, float] = {}
    for row in rows:
        value, window = worth[row]
        if window is None:
            false += value * profile.false
        else:
            parts[window] = max(parts.get(window, -math.inf), value * profile.found)
    return false + sum(parts.get(window, -profile.missed) for window in range(len(series.windows_ns)))


def score(detected: Sequence[tuple[Labelled, Sequence[int]]], profile: Profile) -> float | None:
    """Of several series together: 0 like a detector that never speaks, 100 for the first row of each window and nothing
    else; may be below 0. None without a window."""
    windows = sum(len(series.windows_ns) for series, _ in detected)
    if not windows:
        return None
    silent, perfect = -profile.missed * windows, profile.found * windows
    raw = sum(raw_score(series, rows, profile) for series, rows in detected)
    return 100 * (raw - silent) / (perfect - silent)


@dataclass(frozen=True, slots=True)
class Found:
    """Events in plain counts. A false alarm is a run of detections in neighbouring rows outside of all windows."""

    windows: int
    found: int
    false_alarms: int
    delays_s: tuple[float, ...]

    @property
    def precision(self) -> float | None:
        """Share of the alarms that told of a window; None without an alarm."""
        alarms = self.found + self.false_alarms
        return self.found / alarms if alarms else None

    @property
    def recall(self) -> float | None:
        """Share of the windows that were found; None without a window."""
        return self.found / self.windows if self.windows else None

    @property
    def delay_s(self) -> float | None:
        """Median time from the start of a found window to its first detection."""
        if not self.delays_s:
            return None
        ordered, middle = sorted(self.delays_s), len(self.delays_s) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def count_events(detected: Sequence[tuple[Labelled, Sequence[int]]]) -> Found:
    """Windows found, false alarms and delays over several series."""
    windows, false_alarms = 0, 0
    delays: list[float] = []
    for series, rows in detected:
        worth, before = weights(series), -2
        firsts: dict[int, int] = {}
        for row in sorted(row for row in set(rows) if row >= series.probation_rows):
            window = worth[row][1]
            if window is not None:
                firsts.setdefault(window, series.times_ns[row] - series.windows_ns[window][0])
            elif row != before + 1:
                false_alarms += 1
            before = row if window is None else -2
        windows += len(series.windows_ns)
        delays += [delay_ns / 1e9 for delay_ns in firsts.values()]
    return Found(windows, len(delays), false_alarms, tuple(delays))


def best_threshold(scored: Sequence[tuple[Labelled, Sequence[float]]], profile: Profile) -> tuple[float, float] | None:
    """The threshold that gives these scores of rows the best result on these very series, and that result: what no
    detector knows beforehand. None without a window."""
    candidates = sorted({value for _, values in scored for value in values if not math.isnan(value)})
    best: tuple[float, float] | None = None
    for threshold in spread(candidates):
        found = score([(series, rows_above(values, threshold)) for series, values in scored], profile)
        if found is not None and (best is None or found > best[1]):
            best = (threshold, found)
    return best


CANDIDATES_MAX = 200


def spread(values: Sequence[float]) -> list[float]:
    """At most CANDIDATES_MAX of these, spread over their ranks, the highest with them."""
    if len(values) <= CANDIDATES_MAX:
        return list(values)
    return [values[round(i * (len(values) - 1) / (CANDIDATES_MAX - 1))] for i in range(CANDIDATES_MAX)]


def rows_above(values: Sequence[float], threshold: float) -> list[int]:
    """Rows whose score has reached the threshold."""
    return [row for row, value in enumerate(values) if value >= threshold]
