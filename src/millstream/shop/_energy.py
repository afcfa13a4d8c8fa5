"""What a machine draws over a stretch of time, and what for: from a meter's totals or from its power. Pure.

Energy of which nobody knows when it was drawn, or whether a reading is right, is never sure: `known` says how much of
the time the figures stand for, and `doubts` why a reading was left out.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from millstream.shop._oee import CATEGORIES, Category

HOUR_NS = 3600 * 10**9
NOISE = 0.01  # of the highest power: so far below zero, or above the highest, a sensor at rest may say
MIXED_MAX = 0.2  # of the energy may have been drawn while the state changed, before its parts are uncertain
BACKWARDS = "the meter ran backwards"
JUMP = "the meter jumped"
TOO_HIGH = "the power was above what the machine can draw"
BELOW_ZERO = "the power was below zero"
COARSE = "the meter's steps are coarse for so little energy"


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn from `start_ns` to `end_ns` (UTC), in Wh, and of how much of this time that is known. `is_whole`:
    how much is known, but not when. `is_even`: the power was the same all the time."""

    start_ns: int
    end_ns: int
    wh: float
    known_ns: int
    is_whole: bool = False
    is_even: bool = False
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Meter:
    """What a meter or a sensor is trusted with: readings further apart than `gap_ns` do not tell when something was
    drawn; no more than `max_w` can be drawn; the total grows in steps of `step_wh`."""

    gap_ns: int
    max_w: float
    step_wh: float = 0.0

    def step_doubt(self, before: tuple[int, float], after: tuple[int, float]) -> str:
        """Why the step between two readings (UTC ns, Wh) cannot be right; "": it can."""
        drawn = after[1] - before[1]
        if drawn < 0:
            return BACKWARDS
        most = self.max_w * (1.0 + NOISE) * (after[0] - before[0]) / HOUR_NS
        return JUMP if drawn > most + self.step_wh else ""

    def power_doubt(self, watts: float) -> str:
        """Why a power cannot be right; "": it can."""
        if watts < -NOISE * self.max_w:
            return BELOW_ZERO
        return TOO_HIGH if watts > self.max_w * (1.0 + NOISE) else ""


def metered(readings: Iterable[tuple[int, float]], meter: Meter) -> list[Draw]:
    """Draws between the readings (UTC ns, total in Wh) of a meter, in the order of time."""
    found = []
    for before, after in pairwise(readings):
        span_ns = after[0] - before[0]
        if doubt := meter.step_doubt(before, after):
            found.append(Draw(before[0], after[0], 0.0, 0, doubt=doubt))
        else:
            is_whole = span_ns > meter.gap_ns
            found.append(Draw(before[0], after[0], after[1] - before[1], 0 if is_whole else span_ns, is_whole=is_whole))
    return found


def held(time_ns: int, watts: float, end_ns: int) -> Draw:
    """Power that stays the same for a time."""
    return Draw(time_ns, end_ns, watts * (end_ns - time_ns) / HOUR_NS, end_ns - time_ns, is_even=True)


@dataclass(frozen=True, slots=True)
class Energy:
    """What was drawn in a stretch of time. `covered_ns` is the time for which `wh` stands, `known_ns` the part of it
    that is sure; `spread_wh` is the rest, spread evenly. The Wh by state are None without states; `mixed_wh` was drawn
    while the state changed and is shared out by time. `parts` is None when nobody counts."""

    start_ns: int
    end_ns: int
    wh: float
    known_ns: int
    covered_ns: int
    spread_wh: float = 0.0
    producing_wh: float | None = None
    idle_wh: float | None = None
    unknown_wh: float | None = None
    mixed_wh: float = 0.0
    parts: float | None = None
    parts_known: bool = True
    doubts: Sequence[str] = ()

    @property
    def known(self) -> float:
        """The share of the time of which it is known what was drawn, 0 to 1."""
        return self.known_ns / (self.end_ns - self.start_ns)

    @property
    def energy_wh(self) -> float | None:
        """None when nothing is known."""
        return self.wh if self.known_ns else None

    @property
    def mean_w(self) -> float | None:
        """Mean power of the time for which something is told."""
        return self.wh * HOUR_NS / self.covered_ns if self.known_ns else None

    @property
    def per_part_wh(self) -> float | None:
        """None when nothing was made."""
        return self.wh / self.parts if self.known_ns and self.parts else None

    @property
    def not_producing_wh(self) -> float | None:
        """Drawn while it was known to be in a state that makes nothing."""
        return self.idle_wh if self.known_ns else None

    def is_sure(self, share: float) -> bool:
        """At least this share of the time is known, and nothing is in doubt."""
        return self.known >= share and not self.doubts

    def is_split_sure(self, share: float) -> bool:
        """Also what it was drawn for."""
        unknown = (self.unknown_wh or 0.0) <= (1.0 - share) * self.wh
        return self.is_sure(share) and unknown and self.mixed_wh <= MIXED_MAX * self.wh

    def is_part_sure(self, share: float) -> bool:
        """Also how many parts were made with it."""
        return self.is_sure(share) and self.parts_known


def energy(
    draws: Sequence[Draw], window: tuple[int, int], *,
    states: Sequence[tuple[int, str]] | None = None, categories: Mapping[str, Category] = CATEGORIES,
    parts: float | None = None, parts_known: bool = True, step_wh: float = 0.0, share: float = 0.99,
    remarks: Iterable[str] = (),
) -> Energy:  # fmt: skip
    """The energy of `window` (UTC ns) from draws in the order of time that do not overlap.

    `states` are (UTC ns, state), in order; before the first one none is known. Less than a step of the meter is no
    doubt as long as it is less than what `share` leaves open.
    """
    pieces = None if states is None else _pieces(states, window, categories)
    spent = dict.fromkeys((Category.PRODUCTION, Category.IDLE, Category.UNKNOWN), 0.0)
    wh = spread_wh = mixed_wh = 0.0
    known_ns = covered_ns = 0
    doubts = dict.fromkeys(remarks)
    for draw in draws:
        start_ns, end_ns = max(draw.start_ns, window[0]), min(draw.end_ns, window[1])
        if start_ns >= end_ns:
            continue
        if draw.doubt:
            doubts[draw.doubt] = None
            continue
        part = (end_ns - start_ns) / (draw.end_ns - draw.start_ns)
        inside = draw.wh * part
        is_known = not draw.is_whole or part == 1.0
        wh += inside
        spread_wh += 0.0 if is_known else inside
        covered_ns += end_ns - start_ns if draw.is_whole else round(draw.known_ns * part)
        if is_known:
            known_ns += end_ns - start_ns if draw.is_whole else round(draw.known_ns * part)
        if pieces is not None:
            shares = _shares(pieces, start_ns, end_ns)
            for category, length_ns in shares.items():
                spent[category] += inside * length_ns / (end_ns - start_ns)
            mixed_wh += inside if len(shares) > 1 and not draw.is_even else 0.0
    if known_ns and step_wh > (1.0 - share) * wh:
        doubts[COARSE] = None
    producing, idle, unknown = (None, None, None) if pieces is None else spent.values()
    return Energy(
        *window, wh, known_ns, covered_ns, spread_wh, producing, idle, unknown, mixed_wh, parts, parts_known,
        tuple(doubts),
    )  # fmt: skip


def forecast_w(so_far: Energy | None, recent: Energy, interval: tuple[int, int]) -> float | None:
    """The mean power that the running `interval` (UTC ns) will come to, when it goes on, and has gone on where nothing
    is told, with the mean power of `recent`; None when that is not known. `so_far` is its first part, if any."""
    if recent.mean_w is None:
        return None
    wh, covered_ns = (so_far.wh, so_far.covered_ns) if so_far is not None else (0.0, 0)
    whole_ns = interval[1] - interval[0]
    return (wh * HOUR_NS + recent.mean_w * (whole_ns - covered_ns)) / whole_ns


def _pieces(
    states: Sequence[tuple[int, str]], window: tuple[int, int], categories: Mapping[str, Category]
) -> list[tuple[int, Category]]:
    """From when on it was producing, not producing, or nobody knows; neighbours differ."""
    found = [(-sys.maxsize, Category.UNKNOWN)]
    for time_ns, state in states[max(0, bisect_right(states, window[0], key=_time_of) - 1) :]:
        if time_ns >= window[1]:
            break
        category = categories.get(state, Category.UNKNOWN)
        if category not in (Category.PRODUCTION, Category.UNKNOWN):
            category = Category.IDLE
        if category is not found[-1][1]:
            found.append((time_ns, category))
    return found


def _shares(pieces: Sequence[tuple[int, Category]], start_ns: int, end_ns: int) -> dict[Category, int]:
    """How long each was in a stretch of time, ns."""
    found: dict[Category, int] = {}
    for index in range(bisect_right(pieces, start_ns, key=_time_of) - 1, len(pieces)):
        begun_ns, category = pieces[index]
        if begun_ns >= end_ns:
            break
        over_ns = pieces[index + 1][0] if index + 1 < len(pieces) else sys.maxsize
        found[category] = found.get(category, 0) + min(over_ns, end_ns) - max(begun_ns, start_ns)
    return found


def _time_of(each: tuple[int, object]) -> int:
    return each[0]
