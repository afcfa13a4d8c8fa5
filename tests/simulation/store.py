"""A store that can be killed at any point of a commit: what the data plane promises, without its wire."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from millstream.bus import MemoryStream
from millstream.kernel import Clock, FencedError
from millstream.protocols.ledger import LedgerRecord, decode_record, encode_record
from millstream.protocols.nats_wire import parse_headers
from millstream.sdk import Control, Message, PublisherStats, Received, Stored

OUTSTANDING_MAX = 8


def header_block(message: Message, writer: str) -> bytes:
    """The headers of a stored message; the batch id tells whose it is."""
    lines = [f"Nats-Batch-Id: {writer}", *(f"{name}: {value}" for name, value in message.headers)]
    if message.content_type is not None:
        lines.append(f"Content-Type: {message.content_type}")
    if message.samples_count != 1:
        lines.append(f"Ms-Count: {message.samples_count}")
    return ("NATS/1.0\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(slots=True)
class _Submission:
    messages: Sequence[Message]
    control: Control | None
    answer: asyncio.Future[Stored]


class SimPublisher:
    """`Publisher` on a MemoryStream: commits one unit after another, each after a random while, fenced by its record.

    `crash` is the end of its process or of the store under it: what is outstanding is committed from the front up to a
    random unit, of which, when power is lost, a prefix may be there without its records.
    """

    def __init__(self, stream: MemoryStream, ledger_subject: str, rng: random.Random, clock: Clock) -> None:
        self._stream, self._subject, self._rng, self._clock = stream, ledger_subject, rng, clock
        self._outstanding: deque[_Submission] = deque()
        self._room = asyncio.Event()
        self._work = asyncio.Event()
        self._is_dead = False
        self._adopt()

    def _adopt(self) -> None:
        last = self._stream.last(self._subject)
        self._record = decode_record(last.payload) if last is not None else LedgerRecord(0, 0, 0, 0, 0, 0)
        self._record_seq = last.seq if last is not None else 0
        mine = [r for r in self._stream.messages[self._record_seq :] if self._is_mine(r)]
        self._tail = (len(mine), sum(int(parse_headers(r.headers).values.get("Ms-Count", "1")) for r in mine))

    def _is_mine(self, received: Received) -> bool:
        return received.headers is not None and f"Nats-Batch-Id: {self._subject}\r\n".encode() in received.headers

    async def run(self) -> None:
        """Commit what is submitted, until killed."""
        while not self._is_dead:
            if not self._outstanding:
                self._work.clear()
                await self._work.wait()
                continue
            await asyncio.sleep(self._rng.choice((0.001, 0.005, 0.02, 0.2)))
            if self._outstanding and not self._is_dead:
                self._commit(self._outstanding.popleft())
                self._room.set()

    def _commit(self, item: _Submission) -> None:
        last = self._stream.last(self._subject)
        if (last.seq if last is not None else 0) != self._record_seq:
            item.answer.set_exception(FencedError("another instance writes this ledger", where=self._subject))
            return
        for message in item.messages:
            self._stream.append(message.subject, message.payload, header_block(message, self._subject))
        if item.control is not None:
            self._stream.append(item.control.subject, item.control.payload)
        before = self._record
        count = len(item.messages) + self._tail[0]
        samples = sum(m.samples_count for m in item.messages) + self._tail[1]
        self._tail = (0, 0)
        self._record = LedgerRecord(
            before.batch + 1, count, samples, before.total_messages + count, before.total_samples + samples,
            self._clock.now_ns(),
        )  # fmt: skip
        self._record_seq = self._stream.append(self._subject, encode_record(self._record))
        if not item.answer.done():
            item.answer.set_result(Stored(self._stream.name, self._record_seq))

    async def submit(
        self, messages: Sequence[Message], control: Control | None = None, *, patience_s: float = 0.0
    ) -> asyncio.Future[Stored]:
        """Queue one unit."""
        while len(self._outstanding) >= OUTSTANDING_MAX:
            self._room.clear()
            await self._room.wait()
        if self._is_dead:
            await asyncio.Event().wait()  # the process that asks is being killed
        answer: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._outstanding.append(_Submission(list(messages), control, answer))
        self._work.set()
        return answer

    def crash(self, *, is_power_lost: bool) -> None:
        """See the class."""
        self._is_dead = True
        self._work.set()
        for _ in range(self._rng.randint(0, len(self._outstanding))):
            self._commit(self._outstanding.popleft())
        if self._outstanding and is_power_lost:
            torn = self._outstanding[0].messages
            for message in torn[: self._rng.randint(0, len(torn))]:
                self._stream.append(message.subject, message.payload, header_block(message, self._subject))
        self._outstanding.clear()

    async def last_control(self, subject: str) -> bytes | None:
        """The newest record of `subject`."""
        last = self._stream.last(subject)
        return last.payload if last is not None else None

    async def after_control(self, subject: str) -> list[Received]:
        """What stands behind the newest control."""
        last = self._stream.last(subject)
        return self._stream.messages[last.seq :] if last is not None else []

    async def flush(self) -> None:
        """Wait until all is committed."""
        while self._outstanding and not self._is_dead:
            await asyncio.sleep(0.01)

    def stats(self) -> PublisherStats:
        """Only what the port needs."""
        return PublisherStats(
            0, 0, self._record.batch, 0, len(self._outstanding), 0, 0.0, is_full=False, is_connected=True
        )


class SimHub:
    """A stream that sources an edge's streams, as nats-server does it: in order, from its own last sequence on."""

    def __init__(self, rng: random.Random, clock: Clock) -> None:
        self.stream = MemoryStream("H_INTEGRITY", clock)
        self.is_link_up = True
        self._rng = rng

    def cursor(self, origin: str) -> int:
        """The newest sequence of `origin` that is here."""
        mark = f"Nats-Stream-Source: {origin} ".encode()
        for received in reversed(self.stream.messages):
            if received.headers is not None and mark in received.headers:
                return int(received.headers.split(mark)[1].split(b" ", 1)[0])
        return 0

    async def source(self, origin: MemoryStream) -> None:
        """Copy for ever. It looks often and mostly for nothing, so looking is a callback and no task."""
        at = self.cursor(origin.name)
        loop = asyncio.get_running_loop()

        def look() -> None:
            nonlocal at, timer
            if self.is_link_up:
                at = self._copy(origin, at, at + self._rng.randint(1, 200))
            timer = nap()

        def nap() -> asyncio.TimerHandle:
            return loop.call_later(self._rng.choice((0.001, 0.01, 0.05)), loop.call_soon, look)

        timer = nap()
        try:
            await loop.create_future()
        finally:
            timer.cancel()

    def _copy(self, origin: MemoryStream, at: int, end: int) -> int:
        for received in origin.messages[at:end]:
            head = received.headers[:-2] if received.headers is not None else b"NATS/1.0\r\n"
            mark = f"Nats-Stream-Source: {origin.name} {received.seq} > >\r\n\r\n".encode()
            self.stream.append(received.subject, received.payload, head + mark)
            at = received.seq
        return at

    def lose_tail(self) -> None:
        """A crash of a hub that had not synced its newest messages."""
        kept = len(self.stream.messages) - self._rng.randint(0, 50)
        del self.stream.messages[max(0, kept) :]
