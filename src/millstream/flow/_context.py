"""What changes slowly and is needed beside each event: the current order, the product, who is at the machine.

The context is another input of the same key. `remember` keeps its newest values, `as_of` gives the one that held at the
time of an event, so an event that comes late is joined with what was true then.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Generic, TypeVar

import msgspec

V = TypeVar("V")

VALUES_MAX = 64  # of one context; the oldest go first


class Context(msgspec.Struct, Generic[V], array_like=True):
    """The values of one context by the time from which they hold (UTC ns)."""

    times_ns: list[int] = []
    values: list[V] = []


def remember(context: Context[V], time_ns: int, value: V, *, keep_ns: int = 0) -> tuple[int, int | None]:
    """Take a value that holds from `time_ns` on; of two for one time the later one given counts. What was replaced
    more than `keep_ns` before the newest value is forgotten. Returns for which times the answer of `as_of` is new:
    [from, to), None: for all after."""
    times, values = context.times_ns, context.values
    at = bisect_right(times, time_ns)
    if at and times[at - 1] == time_ns:
        at -= 1
        values[at] = value
    else:
        times.insert(at, time_ns)
        values.insert(at, value)
    until_ns = times[at + 1] if at + 1 < len(times) else None
    # The value that held `keep_ns` before the newest one is still needed.
    old = max(bisect_right(times, times[-1] - keep_ns) - 1, len(times) - VALUES_MAX)
    if old > 0:
        del times[:old], values[:old]
    return time_ns, until_ns


def as_of(context: Context[V], time_ns: int) -> V | None:
    """What held at that time; None before the first value that is kept."""
    at = bisect_right(context.times_ns, time_ns)
    return context.values[at - 1] if at else None
