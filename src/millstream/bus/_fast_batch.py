"""A fast batch, and the memory of the last ones that were committed."""

from __future__ import annotations

from collections import deque

from millstream.bus._queue import Unit
from millstream.protocols.ledger import LedgerRecord
from millstream.sdk import Control, Message

RECENT_S, RECENT_BYTES_MAX = 3.0, 16 * 1024 * 1024  # how long, and how much of, what is committed is remembered

Item = Message | Control


class FastBatch:
    """One fast batch: what was sent under one id, in order, and which units end where."""

    __slots__ = (
        "acked", "base_seq", "bytes", "id", "is_ended", "items", "messages", "opened_s", "payload", "prefix", "record",
        "samples", "units",
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
        self.record: LedgerRecord | None = None
        self.payload = b""

    @property
    def last_seq(self) -> int:
        """The stream's sequence once it is committed."""
        return self.base_seq + len(self.items) + (self.record is not None)


class Recent:
    """The last committed batches. A stream with ``persist_mode: async`` acknowledges before it writes, so a kill of the
    server takes the newest acknowledged messages with it; from here they are stored again, each at its old sequence."""

    def __init__(self, ledger_subject: str) -> None:
        self._ledger_subject = ledger_subject
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
            items = (
                batch.items if batch.record is None else [*batch.items, Control(self._ledger_subject, batch.payload)]
            )
            found += items[max(0, last_seq - batch.base_seq) :]
        return found
