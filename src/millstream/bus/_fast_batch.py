"""A fast batch, and the memory of the last ones that were committed."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass

from millstream.bus._queue import Unit
from millstream.protocols.ledger import LedgerRecord
from millstream.sdk import Control, Message

UNSTARTED_MAX = 64  # remembered; the links of older ones have lost their bytes long ago
RECENT_S, RECENT_BYTES_MAX = 3.0, 16 * 1024 * 1024  # how long, and how much of, what is committed is remembered

Item = Message | Control


@dataclass(frozen=True, slots=True)
class Seal:
    """The record that ends a batch."""

    subject: str
    payload: bytes
    record: LedgerRecord


Entry = tuple[Message | Control | Seal, list[Unit]]  # what is sent, and the units that end there


class FastBatch:
    """One fast batch: what was sent under one id, in order, and which units end where."""

    __slots__ = (
        "acked", "base_seq", "bytes", "id", "is_ended", "is_refused", "items", "messages", "opened_s", "prefix",
        "samples", "seal", "units",
    )  # fmt: skip

    def __init__(self, batch_id: str, reply_prefix: str, base_seq: int, opened_s: float) -> None:
        self.id = batch_id
        self.prefix = reply_prefix.encode("ascii")
        self.base_seq = base_seq
        self.opened_s = opened_s
        self.items: list[Item] = []
        self.units: deque[tuple[int, Unit]] = deque()
        self.acked = 0
        self.bytes = 0
        self.messages = 0  # not yet counted by a record, those of batches before that ended without one included
        self.samples = 0
        self.is_ended = False
        self.is_refused = False  # so the server has read its start
        self.seal: Seal | None = None

    @property
    def last_seq(self) -> int:
        """The stream's sequence once it is committed."""
        return self.base_seq + len(self.items) + (self.seal is not None)

    @property
    def record(self) -> LedgerRecord | None:
        """The record that ends it, once that is sent."""
        return self.seal.record if self.seal is not None else None

    def entries(self) -> list[Entry]:
        """All that was sent, each with the units that end there and are not resolved yet."""
        ends: dict[int, list[Unit]] = {}
        for end, unit in self.units:
            ends.setdefault(end, []).append(unit)
        found: list[Entry] = [(item, ends.get(n, [])) for n, item in enumerate(self.items, 1)]
        return found if self.seal is None else [*found, (self.seal, [])]


def without_seals(entries: list[Entry]) -> list[Entry]:
    """The messages alone: records were made for other numbers."""
    return [entry for entry in entries if type(entry[0]) is not Seal]


class Unstarted:
    """Batches that the server did not know when they were to be closed: their start may wait in the socket of a dead
    link. It is accepted if it is read while the stream ends at the batch's base, and void ever after."""

    def __init__(self) -> None:
        self.batches: list[FastBatch] = []

    def __bool__(self) -> bool:
        return bool(self.batches)

    def add(self, batch: FastBatch) -> None:
        """Remember `batch`; once."""
        if batch not in self.batches:
            self.batches = [*self.batches, batch][-UNSTARTED_MAX:]

    def passed(self, last_seq: int) -> None:
        """The stream ends at `last_seq`, or behind it."""
        if self.batches:
            self.batches = [b for b in self.batches if b.base_seq >= last_seq]

    def room(self, batch: FastBatch) -> int:
        """Messages that `batch` may still take: it ends where one of these could start, so the next one, which
        expects that end, is refused if that has happened."""
        bases = [b.base_seq for b in self.batches if b.base_seq > batch.base_seq]
        return min(bases) - batch.base_seq - len(batch.items) if bases else sys.maxsize


class Recent:
    """The last committed batches. A stream with ``persist_mode: async`` acknowledges before it writes, so a kill of the
    server takes the newest acknowledged messages with it; from here they are stored again, each at its old sequence."""

    def __init__(self) -> None:
        self._batches: deque[tuple[float, FastBatch]] = deque()
        self._bytes = 0

    def add(self, batch: FastBatch, now_s: float) -> None:
        """Remember `batch`, forget what is too old or too much (never the newest)."""
        self._batches.append((now_s, batch))
        self._bytes += batch.bytes
        while len(self._batches) > 1 and (self._bytes > RECENT_BYTES_MAX or now_s - self._batches[0][0] > RECENT_S):
            self._bytes -= self._batches.popleft()[1].bytes

    def clear(self) -> None:
        """Forget all."""
        self._batches.clear()
        self._bytes = 0

    def behind(self, last_seq: int) -> list[Item] | None:
        """What stood behind `last_seq`, records included, in order; None when that is no longer known."""
        if not self._batches or last_seq < self._batches[0][1].base_seq:
            return None
        found: list[Item] = []
        for _, batch in self._batches:
            seal = batch.seal
            items = batch.items if seal is None else [*batch.items, Control(seal.subject, seal.payload)]
            found += items[max(0, last_seq - batch.base_seq) :]
        return found
