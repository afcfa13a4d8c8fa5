"""The in-memory twin of the bus: the same ports, the same ledger, no server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Self

from millstream.bus._units import UNIT_MESSAGES_MAX, encode_headers
from millstream.kernel import Clock, FencedError, NotFoundError, SystemClock
from millstream.protocols.ledger import LedgerRecord, decode_record, encode_record
from millstream.protocols.nats_wire import subject_matches
from millstream.sdk import Control, Message, PublisherStats, Received, Stored


class MemoryStream:
    """An ordered list of messages with sequences from 1. `is_full` makes publishers wait, as a reached bound does."""

    def __init__(self, name: str = "MEMORY", clock: Clock | None = None) -> None:
        self.name = name
        self.messages: list[Received] = []
        self.is_full = False
        self.first_seq = 1
        self._clock = clock or SystemClock()
        self._last: dict[str, Received] = {}
        self._changed: asyncio.Event | None = None  # made by the first who waits

    @property
    def last_seq(self) -> int:
        """The newest sequence, 0 when empty."""
        return len(self.messages)

    def append(self, subject: str, payload: bytes, headers: bytes | None = None) -> int:
        """Store one message; its sequence."""
        received = Received(subject, payload, headers, len(self.messages) + 1, self._clock.now_ns())
        self.messages.append(received)
        self._last[subject] = received
        self.notify()
        return received.seq

    def last(self, subject: str) -> Received | None:
        """The newest message of `subject`."""
        return self._last.get(subject)

    def set_full(self, is_full: bool) -> None:
        """Refuse (True) or accept (False) new messages."""
        self.is_full = is_full
        self.notify()

    def notify(self) -> None:
        """Wake everyone who waits for a change."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def changed(self) -> None:
        """Wait for the next change."""
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()


class MemoryPublisher:
    """`Publisher` on a MemoryStream: every unit is stored at once as a batch of its own, with its ledger record when a
    `ledger_subject` is given."""

    def __init__(self, stream: MemoryStream, *, ledger_subject: str | None = None, clock: Clock | None = None) -> None:
        self._stream = stream
        self._ledger_subject = ledger_subject
        self._clock = clock or SystemClock()
        self._messages = self._samples = self._batches = 0
        last = stream.last(ledger_subject) if ledger_subject else None
        self._record = decode_record(last.payload) if last else LedgerRecord(0, 0, 0, 0, 0, 0)
        self._record_seq = last.seq if last else 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.flush()

    async def submit(
        self, messages: Sequence[Message], control: Control | None = None, *, patience_s: float = 0.0
    ) -> asyncio.Future[Stored]:
        """Store at once; waits while the stream is full."""
        if len(messages) > UNIT_MESSAGES_MAX:
            raise ValueError(f"a unit holds at most {UNIT_MESSAGES_MAX} messages, got {len(messages)}")
        while self._stream.is_full:
            await self._stream.changed()
        future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        if self._ledger_subject is not None:
            last = self._stream.last(self._ledger_subject)
            if (last.seq if last else 0) != self._record_seq:
                future.set_exception(FencedError("another instance writes this ledger", where=self._ledger_subject))
                return future
        for message in messages:
            self._stream.append(message.subject, message.payload, encode_headers(message))
        if control is not None:
            self._stream.append(control.subject, control.payload)
        samples = sum(m.samples_count for m in messages)
        self._messages += len(messages)
        self._samples += samples
        self._batches += 1
        if self._ledger_subject is not None:
            before = self._record
            self._record = LedgerRecord(
                before.batch + 1,
                len(messages),
                samples,
                before.total_messages + len(messages),
                before.total_samples + samples,
                self._clock.now_ns(),
            )
            self._record_seq = self._stream.append(self._ledger_subject, encode_record(self._record))
        future.set_result(Stored(self._stream.name, self._stream.last_seq))
        return future

    async def last_control(self, subject: str) -> bytes | None:
        """The newest payload of `subject`."""
        last = self._stream.last(subject)
        return last.payload if last else None

    async def after_control(self, subject: str) -> list[Received]:
        """What stands behind the newest control."""
        last = self._stream.last(subject)
        return self._stream.messages[last.seq :] if last else []

    async def flush(self) -> None:
        """Nothing is ever queued."""

    def stats(self) -> PublisherStats:
        """Counters since construction."""
        return PublisherStats(
            self._messages, self._samples, self._batches, 0, 0, 0, 0.0, self._stream.is_full, is_connected=True
        )


class MemoryReader:
    """`Reader` on one or several MemoryStreams."""

    def __init__(self, streams: MemoryStream | Mapping[str, MemoryStream]) -> None:
        self._streams = {streams.name: streams} if isinstance(streams, MemoryStream) else dict(streams)

    async def read(
        self,
        stream: str,
        *,
        start_seq: int = 1,
        filter_subjects: Sequence[str] = (),
        batch_max: int = 1000,
        wait_s: float = 1.0,
    ) -> AsyncGenerator[Sequence[Received], None]:
        """See `Reader.read`. Raises NotFoundError."""
        source = self._streams.get(stream)
        if source is None:
            raise NotFoundError("no such stream", got=stream)
        at = max(start_seq, source.first_seq) - 1
        wanted: dict[str, bool] = {}  # of subjects seen here
        while True:
            if at < len(source.messages):
                batch = source.messages[at : at + batch_max]
                at += len(batch)
                if filter_subjects:
                    for subject in {m.subject for m in batch} - wanted.keys():
                        wanted[subject] = any(subject_matches(subject, f) for f in filter_subjects)
                    batch = [m for m in batch if wanted[m.subject]]
                if batch:
                    yield batch
                continue
            try:
                async with asyncio.timeout(wait_s):
                    await source.changed()
            except TimeoutError:
                yield []
