"""Alarm floods: more alarms than people can look at. After ANSI/ISA-18.2-2016 and EEMUA 191. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TIMES_MAX = 500  # kept of one flood watch; more in one window is a flood by any measure


@dataclass(frozen=True, slots=True)
class FloodRules:
    """A flood begins with more than `begins` alarms within `window_ns`, and is over with fewer than `ends`: more than
    ten in ten minutes, and fewer than five, is what the standard measures by."""

    window_ns: int = 600 * 10**9
    begins: int = 10
    ends: int = 5


@dataclass(frozen=True, slots=True)
class Flood:
    """Alarms of the window (UTC ns, in order), and the flood that is on: since when (0: none), how many alarms, and the
    most within one window."""

    times: Sequence[int] = ()
    since_ns: int = 0
    total: int = 0
    peak: int = 0

    def due_ns(self, rules: FloodRules) -> int | None:
        """When the flood ends if no further alarm comes; None: there is none."""
        if not self.since_ns:
            return None
        leaves = len(self.times) - rules.ends  # so many and one more have to leave the window
        return self.times[leaves] + rules.window_ns if leaves >= 0 else self.times[-1] if self.times else self.since_ns


def count_alarm(flood: Flood, rules: FloodRules, time_ns: int) -> tuple[Flood, str | None]:
    """One more alarm; "began" when that makes it a flood."""
    flood, ended = pass_flood_time(flood, rules, time_ns)
    times = sorted((*flood.times, time_ns))[-TIMES_MAX:]
    if flood.since_ns:
        return Flood(times, flood.since_ns, flood.total + 1, max(flood.peak, len(times))), ended
    if len(times) > rules.begins:
        return Flood(times, times[0], len(times), len(times)), "began"
    return Flood(times), ended


def pass_flood_time(flood: Flood, rules: FloodRules, time_ns: int) -> tuple[Flood, str | None]:
    """Time goes on; "ended" when the flood is over."""
    times = [t for t in flood.times if t > time_ns - rules.window_ns]
    if flood.since_ns and len(times) < rules.ends:
        return Flood(times), "ended"
    return Flood(times, flood.since_ns, flood.total, flood.peak), None
