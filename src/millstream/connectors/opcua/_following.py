"""What is known of one tag while it is followed, and how a gap in it is filled. Pure.

A tag is *live* (samples pass) or *filling*: the server's history since the newest stored sample is read, while live
samples wait. The first waiting sample ends the gap; once the history up to it is through, those that waited follow. So
every sample comes once and in order, whatever else arrives meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import msgspec

from millstream.model import Event, Sample
from millstream.sdk import Position, Tag

WAITING_MAX = 2000  # live samples of one tag held while its gap is filled; then the gap is taken to be longer
CATCH_UP_TRIES_MAX = 20  # rereads of a history that does not yet hold the first live sample
EVENT_IDS_MAX = 20  # of one instant and one notifier, kept in the position; what is beyond is given again
_TICK_NS = 100  # resolution of OPC UA times; positions are kept in it


@dataclass(slots=True)
class Followed:
    """One tag of an open session. Times are UTC ns."""

    tag: Tag
    handle: int
    node: Any = None
    event_type: Any = None  # the node id of the type that a tag of events is limited to
    newest_ns: int | None = None
    event_names: tuple[str, ...] = ()  # the fields of its events
    has_event_history: bool = False
    has_history: bool = False
    is_filling: bool = False
    is_first: bool = True  # until the first live sample that has a time
    waiting: list[Sample] = field(default_factory=list)
    end_ns: int | None = None
    continuation: bytes = b""
    tries: int = 0
    below: int = 0

    def offer(self, sample: Sample, *, lost: bool) -> bool:
        """Take a live sample; True when it passes now. `lost`: the server dropped some before it."""
        if self.is_filling:
            self._wait(sample)
            return False
        time_ns = sample.source_time_ns
        if time_ns is None:
            return True
        is_first, self.is_first = self.is_first, False
        newest = self.newest_ns
        if newest is not None and self.has_history and (lost or is_first) and time_ns > newest + _TICK_NS:
            self.is_filling = True
            self._wait(sample)
            return False
        if newest is not None and is_first and time_ns // _TICK_NS == newest // _TICK_NS:
            return False  # the server repeats its current value to each new subscription; it is stored already
        self._passed(time_ns)
        return True

    def move(self) -> list[Sample]:
        """Another node takes its place, whose first value may follow a gap; gives the samples that waited."""
        passing = self.stop_filling() if self.is_filling else []
        self.is_first = True
        return passing

    def _wait(self, sample: Sample) -> None:
        if len(self.waiting) >= WAITING_MAX:
            self.waiting.clear()
            self.end_ns = None
        if self.end_ns is None:
            self.end_ns = sample.source_time_ns
        self.waiting.append(sample)

    def _passed(self, time_ns: int) -> None:
        self.newest_ns, self.below = _advance(self.newest_ns, self.below, time_ns)

    def fill(self, values: Sequence[Sample], *, is_last: bool) -> list[Sample]:
        """Take a page of history; gives what passes now. `is_last`: the server has no more at present."""
        start, end = self.newest_ns, self.end_ns
        passing = [
            sample
            for sample in values
            if sample.source_time_ns is not None
            and (start is None or sample.source_time_ns // _TICK_NS > start // _TICK_NS)
            and (end is None or sample.source_time_ns // _TICK_NS < end // _TICK_NS)
        ]
        for sample in passing:
            self._passed(sample.source_time_ns or 0)
        if end is None:
            return passing  # no live sample has ended the gap yet
        reached = any((sample.source_time_ns or 0) // _TICK_NS >= end // _TICK_NS for sample in values)
        if not reached and is_last:
            self.tries = 0 if passing else self.tries + 1
        # The end moves when too many waited: what was read up to the old end is then not the whole gap.
        if end == self.end_ns and (reached or self.tries >= CATCH_UP_TRIES_MAX):
            passing += self.stop_filling()
        return passing

    def stop_filling(self) -> list[Sample]:
        """Be live again; gives the samples that waited, without those that history gave already."""
        newest = self.newest_ns
        waited = self.waiting
        passing = [
            sample
            for i, sample in enumerate(waited)
            if i > 0 or sample.source_time_ns is None or newest is None or sample.source_time_ns > newest
        ]
        self.is_filling, self.waiting, self.end_ns, self.continuation, self.tries = False, [], None, b"", 0
        for sample in passing:
            if sample.source_time_ns is not None:
                self._passed(sample.source_time_ns)
        return passing


def _advance(newest_ns: int | None, below: int, time_ns: int) -> tuple[int, int]:
    """The newest time after a sample of `time_ns`, and how many in a row were older.

    One late sample does not move it back; two in a row mean that the source's clock was set back.
    """
    if newest_ns is None or time_ns >= newest_ns:
        return time_ns, 0
    return (newest_ns, below + 1) if below == 0 else (time_ns, 0)


class Positions:
    """Where each tag stands, as the Position that is stored with the data.

    A tag is named by the CRC-32 of its key (by the key itself where two would share one), so that a thousand tags take
    about 20 kB; times are 100 ns ticks before the newest.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        short = [f"{crc32(key.encode('utf-8')):08x}" for key in keys]
        count = Counter(short)
        self._names = {key: name if count[name] == 1 else key for key, name in zip(keys, short, strict=True)}
        self._newest: dict[str, tuple[int, int]] = {}  # name -> newest time, how many in a row were older
        self._events: dict[str, tuple[int, list[str]]] = {}  # name -> time of the newest event, the ids of that time

    def resume(self, position: Position | None) -> Mapping[str, int]:
        """Start from `position`; gives the newest stored time by tag key. What another program wrote counts as none."""
        if position is None:
            return {}
        try:
            raw = msgspec.json.decode(position)
            base = int(raw["base_ns"])
            newest = {str(name): base - int(before) * _TICK_NS for name, before in raw["ticks_before"].items()}
            events = {str(name): (int(at), [str(i) for i in ids]) for name, (at, ids) in raw.get("events", {}).items()}
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
            return {}
        self._newest = {name: (newest[name], 0) for name in self._names.values() if name in newest}
        self._events = {name: events[name] for name in self._names.values() if name in events}
        return {key: newest[name] for key, name in self._names.items() if name in newest}

    def newest_event(self, key: str) -> tuple[int, Sequence[str]] | None:
        """Time and ids of the newest stored events of a notifier's tag."""
        return self._events.get(self._names[key])

    def begin_events(self, key: str, time_ns: int) -> None:
        """Nothing was told yet by a notifier that is heard from now on: what comes later is not to be missed."""
        self._events[self._names[key]] = time_ns, []

    def advance_events(self, events: Sequence[Event]) -> None:
        """As `advance`. Events of many sources come out of order: the newest time counts."""
        for event in events:
            name, time_ns = self._names[event.tag], event.time_ns
            newest_ns, ids = self._events.get(name, (0, []))
            if time_ns is None or time_ns < newest_ns:
                continue
            same = ids if time_ns == newest_ns else []
            self._events[name] = time_ns, [*same, event.id][-EVENT_IDS_MAX:]

    def advance(self, samples: Sequence[Sample]) -> None:
        """These are in the batch whose position is encoded next."""
        newest, names = self._newest, self._names
        for sample in samples:
            if sample.source_time_ns is not None:
                name = names[sample.tag]
                stand, below = newest.get(name, (None, 0))
                newest[name] = _advance(stand, below, sample.source_time_ns)

    def encode(self) -> Position | None:
        """None while no tag has a time."""
        if not self._newest and not self._events:
            return None
        base = max((stand for stand, _ in self._newest.values()), default=0)
        ticks = {name: (base - stand) // _TICK_NS for name, (stand, _) in self._newest.items()}
        found: dict[str, object] = {"v": 1, "base_ns": base, "ticks_before": ticks}
        return Position(msgspec.json.encode(found | ({"events": self._events} if self._events else {})))
