"""What a cut is like: loads along its time, the signature learnt from good cuts, and how far a value is off. Pure.

A profile has for each stretch of the cut's time (a bin) and for each load the lowest, the mean and the highest value.
How long a cut takes is not known beforehand: when the bins are used up, neighbours are merged and each is twice as
wide, so a profile never has more than its bound. A signature is the envelope of the profiles of good cuts, as tool
monitors have used since load curves are compared (K. Jemielniak, "Commercial tool condition monitoring systems", Int.
J. Advanced Manufacturing Technology 15, 1999), of those cuts that are alike, so one odd cut among them does not count.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import msgspec

DURATION_SHARE = 0.15  # a cut that takes longer or shorter by more than this is another one
LEVEL_SHARE = 0.3  # and so is one whose mean load is off by more than this, while it learns
AGREE_SHARE = 2 / 3  # of the cuts learnt from have to be alike
SLACK_SHARE = 0.03  # of the time since the start: so far a cut may be ahead of its signature, or behind
CONTRAST_SHARE = 0.25  # of the mean load: where the signature itself is below, nothing can be lost
COVER_SHARE = 0.8  # of the signature's bins have to be there for a figure of the whole cut
SPREADS = 3.0  # of the cuts among each other, beside the tolerance
MAD_SIGMA = 1.4826  # a median absolute deviation of so much is a sigma, in a normal distribution

Seen = Literal["inside", "outside", "lost", "shock"]
_CELL = struct.Struct("<4f")  # lowest, sum (of a signature: mean), highest, count (of a signature: spread)
_EMPTY = _CELL.pack(math.inf, 0.0, -math.inf, 0.0)
CELL_BYTES = _CELL.size


class CutProfile(msgspec.Struct, array_like=True):
    """Loads of one cut by time. `table` has cells bin by bin, in each load by load; `air` is what the loads were before
    the cut, `took_ns` how long it was."""

    width_ns: int
    loads: int
    table: bytes = b""
    air: list[float] = []
    took_ns: int = 0

    @property
    def bins(self) -> int:
        """So far."""
        return len(self.table) // (CELL_BYTES * self.loads)

    def cell(self, index: int, load: int) -> tuple[float, float, float, float]:
        """Lowest, sum, highest, count."""
        low, total, high, count = _CELL.unpack_from(self.table, (index * self.loads + load) * CELL_BYTES)
        return low, total, high, count

    def add(self, offset_ns: int, load: int, value: float, bins_max: int) -> None:
        """A value so long after the start."""
        while offset_ns // self.width_ns >= bins_max:
            self.halve()
        index = offset_ns // self.width_ns
        if index >= self.bins:
            self.table += _EMPTY * self.loads * (index + 1 - self.bins)
        low, total, high, count = self.cell(index, load)
        at = (index * self.loads + load) * CELL_BYTES
        cell = _CELL.pack(min(low, value), total + value, max(high, value), count + 1)
        self.table = self.table[:at] + cell + self.table[at + CELL_BYTES :]

    def halve(self) -> None:
        """Merge neighbours: half as many bins, each twice as wide."""
        cells = []
        for index in range(0, self.bins, 2):
            for load in range(self.loads):
                low, total, high, count = self.cell(index, load)
                if index + 1 < self.bins:
                    low2, total2, high2, count2 = self.cell(index + 1, load)
                    low, total, high, count = min(low, low2), total + total2, max(high, high2), count + count2
                cells.append(_CELL.pack(low, total, high, count))
        self.table, self.width_ns = b"".join(cells), 2 * self.width_ns

    def level(self, load: int) -> float:
        """Mean of a load over the cut; 0 without a value."""
        cells = [self.cell(index, load) for index in range(self.bins)]
        count = sum(cell[3] for cell in cells)
        return sum(cell[1] for cell in cells) / count if count else 0.0


class CutSignature(msgspec.Struct, array_like=True):
    """What good cuts were like: cells as in a profile, with the mean instead of the sum and the spread instead of the
    count. `air` and `level` by load, `took_ns` the usual time."""

    width_ns: int
    loads: int
    table: bytes
    air: list[float]
    level: list[float]
    took_ns: int

    @property
    def bins(self) -> int:
        """Of the whole cut."""
        return len(self.table) // (CELL_BYTES * self.loads)

    def cell(self, index: int, load: int) -> tuple[float, float, float, float] | None:
        """Lowest, mean, highest, spread; None where most cuts had no value."""
        low, mean, high, spread = _CELL.unpack_from(self.table, (index * self.loads + load) * CELL_BYTES)
        return None if low > high else (low, mean, high, spread)


@dataclass(frozen=True, slots=True)
class CutLimits:
    """From where on a value is lost, a shock or outside. Shares of the load over that in the air."""

    lost: float
    shock: float
    tolerance: float


def learn_cuts(profiles: Sequence[CutProfile]) -> tuple[CutSignature | None, list[CutProfile]]:
    """The signature of cuts that are alike, and those that are: None while they are too few of all given."""
    took_ns = median(each.took_ns for each in profiles)
    levels = [median(each.level(load) for each in profiles) for load in range(profiles[0].loads)]
    alike = [
        each
        for each in profiles
        if abs(each.took_ns - took_ns) <= DURATION_SHARE * took_ns
        and all(abs(each.level(load) - usual) <= LEVEL_SHARE * abs(usual) for load, usual in enumerate(levels))
    ]
    if len(alike) < max(2, math.ceil(AGREE_SHARE * len(profiles))):
        return None, alike or list(profiles[-1:])
    width_ns = max(each.width_ns for each in alike)
    for each in alike:
        while each.width_ns < width_ns:
            each.halve()
    loads, bins = alike[0].loads, max(each.bins for each in alike)
    table = b"".join(_usual(alike, index, load) for index in range(bins) for load in range(loads))
    air = [median(each.air[load] for each in alike) for load in range(loads)]
    level = [median(each.level(load) for each in alike) for load in range(loads)]
    return CutSignature(width_ns, loads, table, air, level, int(median(each.took_ns for each in alike))), alike


def _usual(profiles: Sequence[CutProfile], index: int, load: int) -> bytes:
    cells = [each.cell(index, load) for each in profiles if index < each.bins]
    cells = [cell for cell in cells if cell[3]]
    if 2 * len(cells) < len(profiles):
        return _EMPTY
    means = [total / count for _, total, _, count in cells]
    middle = median(means)
    spread = MAD_SIGMA * median(abs(mean - middle) for mean in means)
    return _CELL.pack(min(cell[0] for cell in cells), middle, max(cell[2] for cell in cells), spread)


def judge_load(
    signature: CutSignature, offset_ns: int, heard: tuple[int, float], limits: CutLimits, wear: float
) -> Seen | None:
    """What a load and its value say so long after the start; None where the signature says nothing. `wear` is by how
    much the load of this tool has grown."""
    load, value = heard
    index = offset_ns // signature.width_ns
    own = signature.cell(index, load) if index < signature.bins else None
    if own is None:
        return None
    slack_ns = int(SLACK_SHARE * offset_ns) + signature.width_ns
    first = max((offset_ns - slack_ns) // signature.width_ns, 0)
    last = min((offset_ns + slack_ns) // signature.width_ns, signature.bins - 1)
    near = [cell for at in range(first, last + 1) if (cell := signature.cell(at, load)) is not None]
    air = signature.air[load]
    low, high = min(cell[0] for cell in near) - air, max(cell[2] for cell in near) - air
    net, usual = value - air, max(signature.level[load] - air, 0.0)
    is_ramp = index == 0 or index >= signature.bins - 1
    if not is_ramp and low > 0 and low >= CONTRAST_SHARE * usual and net < limits.lost * low:
        return "lost"
    if net > limits.shock * wear * max(high, usual) > 0:
        return "shock"
    margin = max(limits.tolerance * max(own[1] - air, usual), SPREADS * own[3])
    return "inside" if low - margin <= net <= wear * high + margin else "outside"


def takes_as_long(signature: CutSignature, took_ns: int) -> bool:
    """Whether a cut of this length can be the one of the signature."""
    return abs(took_ns - signature.took_ns) <= DURATION_SHARE * signature.took_ns


def load_ratio(signature: CutSignature, cut: CutProfile) -> float | None:
    """By how much the loads of a whole cut have grown (1: as learnt), without those in the air; the mean of all loads'
    ratios. None when too little of the cut is there, or the signature has no load."""
    ratios = []
    for load in range(signature.loads):
        was, now, known, shared = 0.0, 0.0, 0, 0
        for index in range(signature.bins):
            usual = signature.cell(index, load)
            if usual is None:
                continue
            known += 1
            _, total, _, count = cut.cell(index, load) if index < cut.bins else (0.0, 0.0, 0.0, 0.0)
            if count:
                shared += 1
                was += usual[1] - signature.air[load]
                now += total / count - signature.air[load]
        if not known or shared < COVER_SHARE * known or was <= 0:
            return None
        ratios.append(now / was)
    return sum(ratios) / len(ratios)
