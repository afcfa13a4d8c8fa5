"""Streams and consumers that lost their majority, told as one event, and as one when it is back.

A server announces each of them by itself, within some seconds, and again while somebody asks for it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from millstream.protocols.server_advisory import ServerEvent, majority_back, merged_losses, stream_key

GATHER_NS, GATHER_NS_MAX = 10_000_000_000, 60_000_000_000  # nothing more came for so long; it is told after so long
LOSSES_COUNT_MAX = 1000  # that wait to be told; what comes then is not named
TOLD_COUNT_MAX = 16  # told and not back; then the oldest is not waited for any more


@dataclass(slots=True)
class Losses:
    """What was heard and is not told yet, and what was told and is not back."""

    waiting: list[ServerEvent] = field(default_factory=list)
    _back: set[str] = field(default_factory=set)  # of those that wait: streams that have a leader again
    _told: list[tuple[ServerEvent, set[str]]] = field(default_factory=list)
    _known: dict[str, None] = field(default_factory=dict)  # ids that were told, here or by another
    _begun_ns: int | None = None
    _looked: tuple[int, int] = (0, 0)

    def lost(self, event: ServerEvent) -> bool:
        """Whether it is to be told: not of a stream that was told to be without its majority, and is still."""
        key = stream_key(event)
        if any(key in missing for _, missing in self._told) or len(self.waiting) >= LOSSES_COUNT_MAX:
            return False
        self._back.discard(key)
        self.waiting.append(event)
        return True

    def elected(self, event: ServerEvent) -> list[ServerEvent]:
        """A stream has a leader; the events of those that are back, all of them."""
        key = stream_key(event)
        if any(stream_key(one) == key for one in self.waiting):
            self._back.add(key)
        for _, missing in self._told:
            missing.discard(key)
        return self._take_back(event.time_ns or 0)

    def due(self, now_ns: int) -> list[ServerEvent]:
        """What is to be told now, once: all that waits as one event, and that it is back where it is already."""
        if not self.waiting:
            return []
        if self._looked[0] != len(self.waiting):
            self._looked = len(self.waiting), now_ns
        if self._begun_ns is None:
            self._begun_ns = now_ns
        if now_ns - self._looked[1] < GATHER_NS and now_ns - self._begun_ns < GATHER_NS_MAX:
            return []
        merged = merged_losses(self.waiting)
        time_ns = max(event.time_ns or 0 for event in self.waiting)
        self._keep(merged)
        return [merged, *self._take_back(time_ns)]

    def told_by_another(self, event: ServerEvent) -> None:
        """This one is stored, by whichever member: what it names does not wait here any more."""
        if event.id not in self._known:
            self._keep(event)

    def _keep(self, merged: ServerEvent) -> None:
        self._known[merged.id] = None
        if len(self._known) > 2 * TOLD_COUNT_MAX:
            del self._known[next(iter(self._known))]
        keys = set(_keys(merged))
        self._told = [*self._told, (merged, keys - self._back)][-TOLD_COUNT_MAX:]
        self.waiting = [event for event in self.waiting if stream_key(event) not in keys]
        self._back &= {stream_key(event) for event in self.waiting}
        self._looked, self._begun_ns = (len(self.waiting), 0), None if not self.waiting else self._begun_ns

    def _take_back(self, time_ns: int) -> list[ServerEvent]:
        found = [majority_back(event, time_ns) for event, missing in self._told if not missing]
        self._told = [(event, missing) for event, missing in self._told if missing]
        return found


def _keys(merged: ServerEvent) -> Iterable[str]:
    for name in (*merged.data.get("streams", ()), *merged.data.get("consumers", ())):
        yield str(name).partition(" > ")[0]
