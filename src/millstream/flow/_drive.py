"""A flow in virtual time, without streams or a node: items in, messages out. Pure.

The same items can be taken in one go, in units of any size, killed in the middle of a commit and restored, and over
several partitions. The outputs must be the same each time: that is what the promise of a flow stands on, so
`millstream flow test` and the tests of the library check it with this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millstream.flow._codec import decode_commit, encode_commit
from millstream.flow._core import FlowCore
from millstream.flow._model import Flow
from millstream.flow._ports import Rejected
from millstream.flow._store import KeyStore
from millstream.flow._unit import Unit
from millstream.protocols.nats_wire import VERSION_LINE, encode_header_lines
from millstream.sdk import Message, Received

STREAM = "INPUT"


@dataclass(frozen=True, slots=True)
class Tick:
    """The arrival clock, less the idle time of the flow, has come to `now_ns`."""

    now_ns: int


Item = Received | Tick


@dataclass(frozen=True, slots=True)
class Kills:
    """Where a run dies: before the commit behind the item of that index, when so many outputs of the unit that is
    pending are already in the stream (a torn commit)."""

    torn: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What a run stored: outputs in order, and what was put into quarantine."""

    messages: list[Message] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    state_bytes: int = 0

    def said(self) -> list[tuple[str, bytes, tuple[tuple[str, str], ...]]]:
        """All that has to be equal between two runs."""
        return [(m.subject, m.payload, m.headers) for m in self.messages]

    def refused(self) -> set[tuple[int, int, str]]:
        """The quarantine, as far as it has to be equal: what is put there again after a crash is one and the same."""
        return {(r.received.seq, r.sample, r.code) for r in self.rejected}


def drive(
    flow: Flow[Any], items: Sequence[Item], *, unit_items: int = 0, kills: Kills | None = None, partition: int = 0,
    partitions: int = 1,
) -> Outcome:  # fmt: skip
    """Run one partition over all items. `unit_items`: commit after so many (0: only when a unit is full, before a tick
    and at the end). Messages have ascending sequences from 1 on."""
    run = _Run(flow, partition, partitions)
    deaths = dict(kills.torn) if kills is not None else {}
    run.open()
    index = 0
    while index < len(items):
        run.take(items[index])
        if index in deaths:
            run.die(deaths.pop(index))
            index = run.done
            continue
        index += 1
        if unit_items and index % unit_items == 0:
            run.commit(index)
        else:
            run.taken = index
    run.commit(index)
    run.outcome.state_bytes = run.state_bytes
    return run.outcome


def drive_all(flow: Flow[Any], items: Sequence[Item], partitions: int) -> list[Outcome]:
    """Every partition on its own."""
    return [drive(flow, items, partition=number, partitions=partitions) for number in range(partitions)]


def with_ticks(flow: Flow[Any], arrivals: Iterable[Received | int]) -> list[Item]:
    """Put the ticks in between that the runtime would make: silence is seen `idle_ns` behind the arrival clock. A bare
    number is a moment (UTC ns) at which nothing arrives."""
    idle_ns = flow.time.idle_ns
    items: list[Item] = []
    newest_ns = 0
    for arrival in arrivals:
        at_ns = arrival if isinstance(arrival, int) else arrival.stored_time_ns
        if idle_ns is not None and at_ns > newest_ns and (newest_ns or isinstance(arrival, int)):
            items.append(Tick(at_ns - idle_ns))
        newest_ns = max(newest_ns, at_ns)
        if not isinstance(arrival, int):
            items.append(arrival)
    return items


class _Run:
    """One partition and what it has in its stream."""

    def __init__(self, flow: Flow[Any], partition: int, partitions: int) -> None:
        self._flow, self._partition, self._partitions = flow, partition, partitions
        self.outcome = Outcome()
        self._commits: list[tuple[int, bytes]] = []
        self._torn: list[Message] = []  # behind the newest record
        self._seq = 0
        self.done = 0  # items that are committed
        self.taken = 0
        self._core: FlowCore[Any]
        self._store: KeyStore

    @property
    def state_bytes(self) -> int:
        """Of all keys, encoded."""
        return sum(len(self._store.get(key) or b"") for key in self._store.all_keys())

    def open(self) -> None:
        """Restore from the records; the first one is written when there is none."""
        self._store = KeyStore()
        self._core = FlowCore(
            self._flow, self._store, partition=self._partition, partitions=self._partitions,
            created={STREAM: "made"},
        )  # fmt: skip
        self._core.restore((seq, decode_commit(raw)) for seq, raw in self._commits)
        self._core.begin(_received(message) for message in self._torn)
        self.taken = self.done
        if not self._commits:
            self.commit(0)

    def take(self, item: Item) -> None:
        """One item; commits whatever has to be out of the way."""
        core = self._core
        if isinstance(item, Tick):
            while core.timer_due(item.now_ns):
                self.commit(self.taken)
                core.tick(item.now_ns)
                if core.timer_due(item.now_ns):
                    self.commit(self.taken)  # the same tick goes on in a further unit
        else:
            while not core.feed(STREAM, item):
                self.commit(self.taken)

    def commit(self, done: int) -> None:
        """Store the pending unit. `done` items are then never taken again."""
        if self._commits and not (self._core.is_worth_a_commit or self._core.has_moved):
            self.done = self.taken = done
            return
        unit = self._core.take()
        self._keep(unit, len(unit.messages))
        self._seq += 1
        self._commits.append((self._seq, encode_commit(unit.commit)))
        self._core.committed(self._seq)
        self._torn = []
        self.done = self.taken = done

    def die(self, torn: int) -> None:
        """Lose what is pending, but for the first outputs of it, and start again."""
        unit = self._core.take()
        self._torn += unit.messages[:torn]
        self._keep(unit, min(torn, len(unit.messages)))
        self.open()

    def _keep(self, unit: Unit, count: int) -> None:
        self.outcome.rejected += unit.rejected
        self.outcome.messages += unit.messages[:count]
        self._seq += count


def _received(message: Message) -> Received:
    block = VERSION_LINE + b"\r\n" + encode_header_lines(message.headers) + b"\r\n"
    return Received(message.subject, message.payload, block, 0, 0)
