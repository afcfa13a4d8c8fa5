"""Lists in the order of time of which only the newest part is in the state of a key: the older part of each rests in a
piece, and comes back whole when something asks for it. So an event writes down what is new, not two days.

A step that finds that an event touches the newest part only takes it as it is; for any other it wakes the lists, goes
on as if they had never rested, and lets them rest again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from millstream.flow._model import Pieces

_encode = msgspec.msgpack.Encoder().encode


class Rested:
    """Of one kind of state: `fields` says by name how what is kept divides into what rests and what stays, given the
    time from which on it stays (UTC ns); `make` builds the piece of one: ``make(readings=[..])``. The state counts in
    `rested` how much of each there is."""

    def __init__(self, fields: Mapping[str, Callable[[Any, int], tuple[Any, Any]]], make: Callable[..., Any]) -> None:
        self._fields, self._make = fields, make

    def wake(self, state: Any, pieces: Pieces) -> dict[str, bytes]:
        """Put together in `state` what is kept; what rested, to be given back to `rest`."""
        woken: dict[str, bytes] = {}
        for name in state.rested:
            older, newer = getattr(pieces.get(name), name), getattr(state, name)
            woken[name] = _encode(older)
            setattr(state, name, {**older, **newer} if isinstance(older, dict) else [*older, *newer])
        state.rested = {}
        return woken

    def rest(self, state: Any, pieces: Pieces, since_ns: int, woken: Mapping[str, bytes]) -> None:
        """Leave in `state` what stays; pieces that are as they were are not written."""
        for name, divide in self._fields.items():
            older, newer = divide(getattr(state, name), since_ns)
            before = woken.get(name)
            if not older:
                if before is not None:
                    pieces.put(name, None)
                continue
            if _encode(older) != before:
                pieces.put(name, self._make(**{name: older}))
            state.rested[name] = len(older)
            setattr(state, name, newer)
