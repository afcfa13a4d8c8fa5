"""Time elements and key figures of a machine over a stretch of time, after ISO 22400-2:2014. Pure.

Every span of planned time belongs to one category; what is not known is no downtime and no production either:
it is left out, and `known` says how much of the planned time the figures stand for.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from millstream.shop._agreement import DISPUTED

SECOND_NS = 1_000_000_000


class Category(Enum):
    """What a machine's time is. `value` is what configurations and results call it."""

    PRODUCTION = "production"  # actual production time, APT
    SETUP = "setup"  # actual unit setup time, AUST
    DELAY = "delay"  # actual unit delay time, ADET: short stops, waiting
    IDLE = "idle"  # busy time without work: starved, blocked, no order
    DOWN = "down"  # actual unit down time, ADOT: failures
    PLANNED = "planned"  # planned down time, PDOT: no part of planned busy time
    UNKNOWN = "unknown"  # nobody saw it

    __hash__ = object.__hash__  # there is one of each, and figures of a thousand machines look them up


_NAMES: Mapping[Category, str] = {
    # PackML (ANSI/ISA-TR88.00.02), after ISO 22400-2, and MTConnect's Execution
    Category.PRODUCTION: "Execute Completing Production ACTIVE",
    Category.SETUP: "Setup Starting Resetting Clearing",
    Category.DELAY: "Delay Holding Held Unholding FEED_HOLD INTERRUPTED OPTIONAL_STOP PROGRAM_STOPPED WAIT",
    Category.IDLE: "Starved Blocked Idle Complete Suspending Suspended Unsuspending READY PROGRAM_COMPLETED",
    Category.DOWN: "Down Stopping Stopped Aborting Aborted STOPPED ALARM",
    Category.PLANNED: "Planned Maintenance",
    Category.UNKNOWN: f"Unknown UNAVAILABLE {DISPUTED}",
}
CATEGORIES: Mapping[str, Category] = {name: category for category, names in _NAMES.items() for name in names.split()}
"""What a state counts as when a configuration does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Made:
    """What was made: parts in all and rejected ones, how long the good and bad ones take at the ideal pace, and of the
    rejected ones scrap and rework, where somebody tells them apart. `inspected` are those that were looked at."""

    produced: float = 0.0
    rejected: float = 0.0
    ideal_ns: float = 0.0
    scrap: float = 0.0
    rework: float = 0.0
    inspected: float = 0.0

    def __add__(self, other: Made) -> Made:
        return Made(
            self.produced + other.produced, self.rejected + other.rejected, self.ideal_ns + other.ideal_ns,
            self.scrap + other.scrap, self.rework + other.rework, self.inspected + other.inspected,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    """One stretch of time of one machine. Times in ns; a figure is None when there is nothing to divide by."""

    start_ns: int
    end_ns: int
    planned_ns: int  # by the calendar
    spent_ns: Mapping[Category, int]  # of the planned time
    made: Made
    small_stops: int = 0  # stops shorter than the bound, and their time
    small_stops_ns: int = 0
    failures: int = 0  # times that the machine went down
    states_ns: Mapping[str, int] = field(default_factory=dict)
    remarks: Sequence[str] = ()  # doubts about what it was worked out from

    @property
    def known(self) -> float:
        """The share of planned time of which somebody knows what it was, 0 to 1; 1 when nothing was planned."""
        return 1.0 - self.spent_ns[Category.UNKNOWN] / self.planned_ns if self.planned_ns else 1.0

    @property
    def busy_ns(self) -> int:
        """Planned busy time, PBT: planned, known, and no planned stop."""
        return self.planned_ns - self.spent_ns[Category.PLANNED] - self.spent_ns[Category.UNKNOWN]

    @property
    def production_ns(self) -> int:
        """Actual production time, APT."""
        return self.spent_ns[Category.PRODUCTION]

    @property
    def availability(self) -> float | None:
        """APT / PBT (ISO 22400-2)."""
        return _ratio(self.production_ns, self.busy_ns)

    @property
    def performance(self) -> float | None:
        """Effectiveness: ideal time of what was made / APT. Above 1 the ideal cycle is not the ideal one."""
        return _ratio(self.made.ideal_ns, self.production_ns)

    @property
    def quality(self) -> float | None:
        """Quality ratio: good / produced."""
        return _ratio(self.made.produced - self.made.rejected, self.made.produced)

    @property
    def scrap_ratio(self) -> float | None:
        """Scrap quantity / produced quantity (ISO 22400-2)."""
        return _ratio(self.made.scrap, self.made.produced)

    @property
    def rework_ratio(self) -> float | None:
        """Rework quantity / produced quantity (ISO 22400-2)."""
        return _ratio(self.made.rework, self.made.produced)

    @property
    def first_pass_yield(self) -> float | None:
        """Parts that were good at the first inspection / inspected parts (ISO 22400-2)."""
        return _ratio(self.made.inspected - self.made.rejected, self.made.inspected)

    @property
    def oee(self) -> float | None:
        """Availability * effectiveness * quality ratio. Nothing made in busy time is 0."""
        if self.busy_ns <= 0:
            return None
        return self.made.ideal_ns / self.busy_ns * (self.quality or 0.0)

    @property
    def teep(self) -> float | None:
        """The same of all time, planned or not; what is not known is left out of it."""
        return _ratio(
            self.made.ideal_ns * (self.quality or 0.0), self.end_ns - self.start_ns - self.spent_ns[Category.UNKNOWN]
        )

    @property
    def mttr_ns(self) -> float | None:
        """Mean time to repair: down time / failures."""
        return _ratio(self.spent_ns[Category.DOWN], self.failures)

    @property
    def mtbf_ns(self) -> float | None:
        """Mean operating time between failures: production time / failures."""
        return _ratio(self.production_ns, self.failures)

    def losses_ns(self) -> Mapping[str, float]:
        """The six big losses of the planned busy time; what is started up badly is told by the rejects."""
        stops = self.spent_ns[Category.DELAY] + self.spent_ns[Category.IDLE] + self.spent_ns[Category.DOWN]
        rejects = self.made.ideal_ns * self.made.rejected / self.made.produced if self.made.produced else 0.0
        return {
            "failures": float(self.spent_ns[Category.DOWN]),
            "setup": float(self.spent_ns[Category.SETUP]),
            "idling": float(stops - self.spent_ns[Category.DOWN] - self.small_stops_ns),
            "small_stops": float(self.small_stops_ns),
            "speed": max(0.0, self.production_ns - self.made.ideal_ns),
            "rejects": rejects,
        }

    def doubts(self) -> list[str]:
        """Where the sources disagree, so that nobody takes the figures for sure."""
        found = []
        if self.production_ns and not self.made.produced:
            found.append("it was producing, and no part was counted")
        if self.made.produced and not self.production_ns and self.planned_ns > self.spent_ns[Category.UNKNOWN]:
            found.append("parts were counted, and it was never producing")
        if self.performance is not None and self.performance > 1.0 + TOLERANCE:
            found.append("it was faster than its ideal cycle")
        if self.made.rejected > self.made.produced:
            found.append("more parts were rejected than made")
        elif 0 < self.made.inspected < self.made.rejected:
            found.append("more parts were rejected than inspected")
        if disputed_ns := self.states_ns.get(DISPUTED, 0):
            found.append(f"two sources of the state disagreed ({disputed_ns / SECOND_NS:.0f} s)")
        return [*found, *self.remarks]


TOLERANCE = 0.02  # of a measured cycle over the ideal one
SMALL_CATEGORIES = (Category.DELAY, Category.IDLE)
"""Time of these counts as a small stop when it is short."""


def figures(
    transitions: Sequence[tuple[int, str]], planned: Sequence[tuple[int, int]], made: Made, span: tuple[int, int], *,
    categories: Mapping[str, Category] = CATEGORIES, small_stop_ns: int = 0, until_ns: int | None = None,
    remarks: Sequence[str] = (),
) -> Figures:  # fmt: skip
    """The figures of `span` (UTC ns) from the machine's states and what it made.

    `transitions` are (UTC ns, state), in order; before the first one nothing is known, and so is what lies behind
    `until_ns`. `planned` is the planned time inside the span. A state that `categories` does not have is unknown.
    """
    transitions = [each for n, each in enumerate(transitions) if not n or transitions[n - 1][1] != each[1]]
    spent = dict.fromkeys(Category, 0)
    states: dict[str, int] = {}
    small: list[int] = []
    failures = 0
    for start, end in planned:
        for at, to, state, whole_ns in _pieces(transitions, start, end, until_ns):
            category = categories.get(state, Category.UNKNOWN)
            states[state] = states.get(state, 0) + to - at
            if category in SMALL_CATEGORIES and whole_ns < small_stop_ns:
                small.append(to - at)
            failures += category is Category.DOWN and _begins(transitions, at, categories)
    for state, ns in states.items():
        spent[categories.get(state, Category.UNKNOWN)] += ns
    planned_ns = sum(end - start for start, end in planned)
    return Figures(
        span[0], span[1], planned_ns, spent, made, len(small), sum(small), failures, dict(sorted(states.items())),
        remarks,
    )  # fmt: skip


def _pieces(
    transitions: Sequence[tuple[int, str]], start: int, end: int, until_ns: int | None
) -> list[tuple[int, int, str, int]]:
    """The states in [start, end), each with its part of it and how long it lasted in all; "" where nobody knows."""
    known_end = end if until_ns is None else max(start, min(end, until_ns))
    found: list[tuple[int, int, str, int]] = []
    at = start
    for index in range(max(0, bisect_right(transitions, start, key=_time_of) - 1), len(transitions)):
        begun, state = transitions[index]
        if begun >= known_end:
            break
        if begun > at:  # before the first one
            found.append((at, begun, "", begun - at))
        over = transitions[index + 1][0] if index + 1 < len(transitions) else sys.maxsize  # it lasts
        at, to = max(begun, start), min(over, known_end)
        if to > at:
            found.append((at, to, state, over - begun))
            at = to
    if at < end:
        found.append((at, end, "", end - at))
    return found


def _begins(transitions: Sequence[tuple[int, str]], at: int, categories: Mapping[str, Category]) -> bool:
    """A failure counts where it begins: not in each span that it reaches into, nor again with its next state."""
    index = bisect_right(transitions, at, key=_time_of) - 1
    if index < 0 or transitions[index][0] != at:
        return False
    return index == 0 or categories.get(transitions[index - 1][1]) is not Category.DOWN


def clip(spans: Sequence[tuple[int, int]], start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """The parts of spans that lie in [start_ns, end_ns)."""
    return [
        (max(start, start_ns), min(end, end_ns)) for start, end in spans if start < end_ns and start_ns < end
        and max(start, start_ns) < min(end, end_ns)
    ]  # fmt: skip


def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Sums by name, in the order of the names."""
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


def _time_of(transition: tuple[int, str]) -> int:
    return transition[0]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
