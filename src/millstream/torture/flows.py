"""The flows of the tortured site, as a user writes them: given to the nodes as a file.

`once` counts each part once, however often its device sends it: a part's number is its business key, and a machine
numbers its parts in ascending order. The built-in part counter stands behind it, and `rate` behind that.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from millstream.flow import Effect, Emit, Event, Flow, Input, Panes, Sliding, TimePolicy

SECOND_NS = 1_000_000_000
WINDOW_NS = 2 * SECOND_NS
COUNTED, PARTS, RATE = "counted", "parts", "parts_per_window"


class Seen(msgspec.Struct, array_like=True):
    """Of one machine: the highest number, and how many parts."""

    number: int = 0
    parts: int = 0


def count_once(state: Seen, event: Event) -> tuple[Seen, Sequence[Effect]]:
    """A part that was not seen before."""
    number = event.value
    if not isinstance(number, int) or number <= state.number:
        return state, ()
    state.number, state.parts = number, state.parts + 1
    return state, (Emit(f"{event.key}:{COUNTED}", state.parts, event.time_ns),)


def _add(count: int, _: Event) -> int:
    return count + 1


window = Sliding(WINDOW_NS, initial=int, fold=_add, merge=int.__add__, keep_ns=30 * WINDOW_NS)


def parts_per_window(state: Panes[int], event: Event) -> tuple[Panes[int], Sequence[Effect]]:
    """Parts of each two seconds of the machines' own time; corrected when a late part comes."""
    results, effects = window.take(state, event)
    said = [Emit(f"{event.key}:{RATE}", r.value, r.end_ns, "kpi", revision=r.revision) for r in results]
    return state, [*effects, *said]


once = Flow(
    "once", (Input("acme/plant1/*:barrier"),), count_once, Seen, Seen, outputs=("count",), time=TimePolicy(0, None)
)
rate = Flow(
    "rate", (Input(f"acme/plant1/*:{PARTS}", "count"),), parts_per_window, Panes[int], Panes[int], outputs=("kpi",),
    time=TimePolicy(0, None),
)  # fmt: skip
