"""What the publishers have in common: the queue, the counters, the ledger's running totals, the owned task."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from millstream.bus._direct_batch import get_batch
from millstream.bus._jetstream import StreamApi
from millstream.bus._queue import Unit, UnitQueue, resolve_unit
from millstream.bus._reader import StreamReader
from millstream.bus._scope import leave_group
from millstream.kernel import Clock, FencedError, PlantError, Unreachable
from millstream.protocols.ledger import LedgerRecord, decode_record, encode_record
from millstream.sdk import PublisherStats, Received, Stored

AFTER_CONTROL_MAX = 100_000  # messages; more than all queues together hold
CLOSE_FLUSH_S = 5.0  # leaving the scope waits this long for what is queued
RETRY_FLOOR_S, RETRY_CEILING_S = 0.05, 2.0
NO_RECORD = LedgerRecord(0, 0, 0, 0, 0, 0)


class LedgerHead:
    """The newest committed record of one publisher, and what stands uncounted behind it."""

    def __init__(self, subject: str, clock: Clock) -> None:
        self.subject = subject
        self.encoded_subject = subject.encode("utf-8")
        self._clock = clock
        self.record = NO_RECORD
        self.payload: bytes | None = None
        self.seq = 0
        self.tail_messages = 0
        self.tail_samples = 0

    def adopt(self, found: Received | None) -> None:
        """Continue from what the stream holds."""
        self.record = decode_record(found.payload) if found is not None else NO_RECORD
        self.payload = found.payload if found is not None else None
        self.seq = found.seq if found is not None else 0
        self.tail_messages = self.tail_samples = 0

    def next(self, messages: int, samples: int, after: LedgerRecord | None = None) -> LedgerRecord:
        """The record of the next batch; the tail, if any, is counted in (only when it follows the head)."""
        before = after or self.record
        if after is None:
            messages, samples = messages + self.tail_messages, samples + self.tail_samples
        return LedgerRecord(
            before.batch + 1, messages, samples, before.total_messages + messages, before.total_samples + samples,
            max(self._clock.now_ns(), before.time_ns + 1),
        )  # fmt: skip

    def committed(self, record: LedgerRecord, seq: int) -> None:
        """`record` is stored at `seq`."""
        self.record = record
        self.payload = encode_record(record)
        self.seq = seq
        self.tail_messages = self.tail_samples = 0

    def fenced(self, found: Received | None) -> FencedError:
        """The error that says who wrote instead."""
        return FencedError(
            "another instance writes this ledger", where=self.subject, expected=f"batch {self.record.batch}",
            got="none" if found is None else f"batch {decode_record(found.payload).batch}",
            next_step="stop the other instance, or give one of them another name",
        )  # fmt: skip


class Counters:
    """What `stats` shows."""

    def __init__(self) -> None:
        self.messages = self.samples = self.batches = self.resends = 0
        self.commit_ms_last = 0.0
        self.is_full = False

    def stats(self, queue: UnitQueue, in_flight: int, is_connected: bool) -> PublisherStats:
        """The port's form; what is in flight counts as queued."""
        return PublisherStats(
            self.messages, self.samples, self.batches, self.resends, queue.messages + in_flight, queue.bytes,
            self.commit_ms_last, self.is_full, is_connected,
        )  # fmt: skip

    def stored(self, stream: str, units: Sequence[Unit], seq: int) -> None:
        """Resolve `units` as stored up to `seq`."""
        stored = Stored(stream, seq)
        for unit in units:
            resolve_unit(unit, stored)


class OwnedTask:
    """One background task in the scope of its owner: a FencedError ends it quietly (its submitters have it), any other
    error is a bug and breaks the scope."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._task: asyncio.Task[None] | None = None

    async def start(self, run: Callable[[], Awaitable[None]], on_error: Callable[[PlantError], None]) -> None:
        """Run in the background."""
        await self._group.__aenter__()
        self._task = self._group.create_task(self._guarded(run, on_error))

    @staticmethod
    async def _guarded(run: Callable[[], Awaitable[None]], on_error: Callable[[PlantError], None]) -> None:
        try:
            await run()
        except FencedError as error:
            on_error(error)

    async def stop(self, error: BaseException | None) -> None:
        """Cancel and wait."""
        if self._task is not None:
            self._task.cancel()
        await leave_group(self._group, error)


async def read_after_control(
    api: StreamApi, reader: StreamReader, stream: str, subject: str, known_seq: int | None = None
) -> list[Received]:
    """See `Publisher.after_control`; `known_seq` is that of the newest control, where it is known (0: there is none).
    Raises Unreachable."""
    found: list[Received] = []
    if known_seq is None:
        control = await api.last(stream, subject)
        known_seq = control.seq if control is not None else 0
    if not known_seq:
        return found
    if api.replicas == 1:  # a lagging replica may answer a direct get; a consumer is for what is more than a few
        few, is_more = await get_batch(api.connection, stream, ">", seq=known_seq + 1)
        if not is_more:
            return list(few)
    state = await api.state(stream)
    start = max(known_seq + 1, state.first_seq, state.last_seq - AFTER_CONTROL_MAX + 1)
    if state.last_seq < start:
        return found
    async with aclosing(reader.read(stream, start_seq=start)) as batches:
        async for batch in batches:
            found += batch
            if not batch:  # nothing more, or no link: look again
                state = await api.state(stream)
            if state.last_seq <= (found[-1].seq if found else start - 1) or state.first_seq > state.last_seq:
                return found
    return found


async def close_publisher(flush: Callable[[], Awaitable[None]], task: OwnedTask, error: BaseException | None) -> None:
    """Leave a publisher's scope: store what is queued if that is possible in time. The caller fails the rest."""
    try:
        if error is None:
            async with asyncio.timeout(CLOSE_FLUSH_S):
                await flush()
    except (TimeoutError, Unreachable, FencedError):
        pass  # what could not be stored is failed next, and its submitters are told
    finally:
        await task.stop(error)


def writer_prefix(ledger_subject: str) -> str:
    """Marks the batches of one publisher over all its incarnations, so that a torn tail is recognised as its own."""
    return hashlib.sha256(ledger_subject.encode()).hexdigest()[:10] + "-"


def incarnation() -> str:
    """Marks the batches of one process."""
    return secrets.token_hex(4)
