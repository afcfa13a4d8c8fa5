"""How far the hub has this edge's streams, and where its own contracts are, as it told last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from millstream.kernel import Clock
from millstream.protocols.nats_wire import WireMessage

TOLD_FRESH_S = 3.5  # a hub tells its cursors at least each two seconds; one that does not (any more) is asked
Cursors = Mapping[str, tuple[int, str | None]]


class ToldCursors:
    """`newest` may also have been asked for. `on_told` is called with each telling."""

    def __init__(self, clock: Clock) -> None:
        self.newest: Cursors = {}
        self.on_told: Callable[[], None] | None = None
        self._clock = clock
        self._told_ns: int | None = None

    def take(self, messages: Sequence[WireMessage]) -> None:
        """What the hub tells."""
        try:
            self.newest = msgspec.json.decode(messages[-1][4], type=dict[str, tuple[int, str | None]])
        except msgspec.DecodeError:  # not from a hub of ours: then it is asked
            return
        self._told_ns = self._clock.monotonic_ns()
        if self.on_told is not None:
            self.on_told()

    def fresh_s(self) -> float:
        """How long what was told still counts; not positive: it does not."""
        if self._told_ns is None:
            return 0.0
        return TOLD_FRESH_S - (self._clock.monotonic_ns() - self._told_ns) / 1e9

    def told_ns(self) -> int | None:
        """When the newest was told, monotonic; None when that was too long ago to count."""
        return self._told_ns if self.fresh_s() > 0 else None

    def seq(self, stream: str) -> int | None:
        """How far the hub said a moment ago that it has `stream`, which may be one of its own; None when it did not."""
        told = self.newest.get(stream) if self.fresh_s() > 0 else None
        return None if told is None else told[0]
