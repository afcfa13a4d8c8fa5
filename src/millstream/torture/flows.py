"""The flow of the tortured site that is written by hand: given to the edge as a file, as a user does it.

`once` counts each part once, however often its device sends it: a part's number is its business key, and a machine
numbers its parts in ascending order. The built-in part counter and rate stand behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from millstream.flow import Effect, Emit, Event, Flow, Input, TimePolicy

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


once = Flow(
    "once", (Input("acme/plant1/*:barrier"),), count_once, Seen, Seen, outputs=("count",), time=TimePolicy(0, None)
)
