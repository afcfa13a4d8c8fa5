"""Integrity class: group commit. What is queued goes out as one atomic batch (ADR-50), synced, with its ledger record
last.

One batch is in flight; what arrives meanwhile forms the next, so the batch grows with the disk's latency and no timer
is needed under load. A batch whose answer is missing is resolved by reading the newest record: equal to ours is
stored, equal to the one before is not stored, anything else is another instance. The same batch is sent again with
the same record until one of the two is certain, so a late commit of a lost connection cannot count twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from millstream.bus._jetstream import BATCH_INCOMPLETE, Refused, StreamApi, StreamState, decode_answer
from millstream.bus._patience import START_PATIENCE_S
from millstream.bus._publisher import (
    RETRY_CEILING_S,
    RETRY_FLOOR_S,
    Counters,
    LedgerHead,
    OwnedTask,
    close_publisher,
    incarnation,
    read_after_control,
    writer_prefix,
)
from millstream.bus._queue import QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, Unit, UnitQueue, fail_unit
from millstream.bus._reader import StreamReader
from millstream.bus._transport import Transport
from millstream.bus._units import header_lines
from millstream.kernel import Backoff, Clock, FencedError, PlantError, StoreFullError, SystemClock, Unreachable
from millstream.protocols.ledger import LedgerRecord, encode_record, is_ledger_subject
from millstream.protocols.nats_wire import parse_headers, subject_bytes
from millstream.sdk import Control, Message, PublisherStats, Received, Stored

BATCH_MESSAGES_MAX = 1000  # nats-server's bound of one atomic batch
BATCH_BYTES_MAX = 16 * 1024 * 1024
BATCH_SHARE = 4  # a batch takes at most a quarter of what its stream may hold: one that never fits would wait for ever
COMMIT_TIMEOUT_S = 10.0
LINGER_S_FLOOR, LINGER_S_MAX = 0.002, 0.012
IDLE_S = 0.5  # after such a pause a trickle begins anew
FULL_ENOUGH_MESSAGES = 250  # a queue with so many goes out at once
_CHUNK_BYTES = 256 * 1024


@dataclass(slots=True)
class _Batch:
    units: list[Unit]
    messages: list[Message]
    controls: dict[str, bytes]
    record: LedgerRecord
    payload: bytes
    skip: int = 0  # messages at its front that a torn commit has left in the stream


class GroupCommitPublisher:
    """`Publisher` of one integrity stream. Enter it as a scope; entering raises NotFoundError, Unreachable,
    AuthError.

    `publish_prefix` stands before each subject on the wire when the stream listens elsewhere and transforms it away.
    """

    def __init__(
        self, connection: Transport, stream: str, *, ledger_subject: str, publish_prefix: str = "",
        domain: str | None = None, clock: Clock | None = None, queue_messages_max: int = QUEUE_MESSAGES_MAX,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._stream = stream
        self._wire_prefix = publish_prefix.encode()
        self._api = StreamApi(connection, domain, patience_s=START_PATIENCE_S)
        self._reader = StreamReader(connection, domain=domain)
        self._clock = clock or SystemClock()
        self._head = LedgerHead(ledger_subject, self._clock)
        self._queue = UnitQueue(queue_messages_max, queue_bytes_max)
        self._counters = Counters()
        self._task = OwnedTask()
        self._prefix = writer_prefix(ledger_subject)
        self._incarnation = incarnation()
        self._attempts = 0
        self._control_seqs: dict[str, int] = {}
        self._read_seqs: dict[str, int] = {}  # of controls that were just read, and none stored since
        self._in_flight: _Batch | None = None
        self._batch_bytes_max = BATCH_BYTES_MAX
        self._linger_s = LINGER_S_FLOOR
        self._last_commit_ns = 0
        self._hurry = asyncio.Event()
        self._connects = 0

    async def __aenter__(self) -> Self:
        await self._adopt()
        await self._task.start(self._run, self._fail)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await close_publisher(self.flush, self._task, error)
        finally:
            self._fail(Unreachable("the publisher was closed before this was stored", where=self._stream))

    def _fail(self, error: PlantError) -> None:
        for unit in self._in_flight.units if self._in_flight is not None else ():
            fail_unit(unit, error)
        self._in_flight = None
        self._queue.fail(error)

    async def submit(
        self, messages: Sequence[Message], control: Control | None = None, *, patience_s: float = 0.0
    ) -> asyncio.Future[Stored]:
        """See `Publisher.submit`. Raises PlantError (MS-0402) for what can never be stored."""
        return await self._queue.put(messages, control, patience_s)

    async def last_control(self, subject: str) -> bytes | None:
        """See `Publisher.last_control`. Raises Unreachable."""
        found = await self._api.last(self._stream, subject)
        self._read_seqs[subject] = found.seq if found is not None else 0
        return found.payload if found is not None else None

    async def after_control(self, subject: str) -> list[Received]:
        """See `Publisher.after_control`. Raises Unreachable."""
        known_seq = self._read_seqs.pop(subject, None)
        return await read_after_control(self._api, self._reader, self._stream, subject, known_seq)

    async def flush(self) -> None:
        """Wait until all that was submitted is stored, without linger. Raises what the newest submission raises."""
        if self._queue.last is not None and not self._queue.last.done():
            self._queue.hurry()
            self._hurry.set()
            await asyncio.shield(self._queue.last)

    def stats(self) -> PublisherStats:
        """Counters since start."""
        batch = self._in_flight
        return self._counters.stats(self._queue, len(batch.messages) if batch else 0, self._connection.is_connected)

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._queue.wait()
            await self._linger()
            units = self._queue.take(messages_max=BATCH_MESSAGES_MAX - 1, bytes_max=self._batch_bytes_max)
            await self._commit(units)

    async def _linger(self) -> None:
        """Let more units join a small batch: each costs the server about 2 ms of CPU, however few messages are in it.

        A lone unit after a pause waits the floor. In a trickle, commits keep a distance that grows to the maximum. A
        submitter that waits for each unit before the next gains nothing from that, so for it the distance shrinks."""
        since_commit_s = (self._clock.monotonic_ns() - self._last_commit_ns) / 1e9
        before = self._queue.messages
        if before >= FULL_ENOUGH_MESSAGES:
            return
        wait_s = LINGER_S_FLOOR if since_commit_s > LINGER_S_MAX else max(0.0, self._linger_s - since_commit_s)
        try:
            async with asyncio.timeout(wait_s):
                await self._hurry.wait()
        except TimeoutError:
            pass
        self._hurry.clear()
        if since_commit_s < LINGER_S_FLOOR and self._queue.messages == before:
            self._linger_s = max(LINGER_S_FLOOR, self._linger_s / 2)
        elif since_commit_s < IDLE_S:
            self._linger_s = min(LINGER_S_MAX, self._linger_s * 2)
        else:
            self._linger_s = LINGER_S_FLOOR

    def _compose(self, units: list[Unit]) -> _Batch:
        messages = [m for unit in units for m in unit.messages]
        controls = {unit.control.subject: unit.control.payload for unit in units if unit.control is not None}
        record = self._head.next(len(messages), sum([m.samples_count for m in messages]))
        return _Batch(units, messages, controls, record, encode_record(record))

    async def _commit(self, units: list[Unit]) -> None:
        """Returns when `units` are stored, or failed one by one because the stream refuses them for good."""
        batch = self._in_flight = self._compose(units)
        backoff = Backoff(RETRY_FLOOR_S, RETRY_CEILING_S)
        refusals = 0
        while True:
            start_ns = self._clock.monotonic_ns()
            try:
                seq: int | None = await self._send(batch)
            except StoreFullError:
                self._counters.is_full = True  # the source is held back by the queue's bound; nothing is dropped
                seq = None
                await asyncio.sleep(backoff.next_s())
            except Refused as error:
                if await self._is_final(batch, error):
                    await self._isolate(batch, error)
                    return
                seq = None
                self._counters.is_full = True  # the server cannot write: most likely its disk is full
                await asyncio.sleep(backoff.next_s())
            except FencedError:
                refusals += 1
                seq = await self._resolve(batch)
                if seq is None and refusals > 2:
                    raise
            except PlantError:
                await asyncio.sleep(backoff.next_s())
                seq = await self._resolve(batch)
            if seq is not None:
                break
            self._counters.resends += 1
        self._counters.commit_ms_last = (self._clock.monotonic_ns() - start_ns) / 1e6
        self._stored(batch, seq)

    def _stored(self, batch: _Batch, seq: int) -> None:
        self._in_flight = None
        self._last_commit_ns = self._clock.monotonic_ns()
        counters = self._counters
        counters.is_full = False
        counters.batches += 1
        counters.messages += len(batch.messages)
        counters.samples += sum([m.samples_count for m in batch.messages])
        first = seq - len(batch.controls)
        for index, subject in enumerate(batch.controls):
            self._control_seqs[subject] = first + index
            self._read_seqs.pop(subject, None)
        self._head.committed(batch.record, seq)
        counters.stored(self._stream, batch.units, seq)

    async def _is_final(self, batch: _Batch, error: Refused) -> bool:
        """Sending the batch again cannot help. An incomplete one can: the server, too, drops messages of a batch when
        it cannot write them. Only a subject that no stream takes makes it incomplete for good."""
        if error.err_code != BATCH_INCOMPLETE:
            return True
        state = await self._api.state(self._stream)
        return not all(state.takes(m.subject) for m in batch.messages)

    async def _isolate(self, batch: _Batch, error: PlantError) -> None:
        """One unit that the stream refuses must not stop the others."""
        if len(batch.units) == 1:
            self._in_flight = None
            fail_unit(batch.units[0], error)
            return
        for unit in batch.units:
            await self._commit([unit])

    # -- the wire -----------------------------------------------------------------------------------------------------

    async def _send(self, batch: _Batch) -> int:
        """One attempt; the record's sequence. Raises what the server answers, or Unreachable."""
        if not self._connection.is_connected:
            await self._connection.wait_connected()
            raise Unreachable("the link was lost")
        controls = await self._with_seqs(batch.controls)
        self._connects = self._connection.connects
        self._attempts += 1
        reply, answer = self._connection.start_request()
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                for chunk in self._encode(batch, controls, reply):
                    self._connection.write(chunk)
                    if len(chunk) >= _CHUNK_BYTES:
                        await self._connection.drained()
                message = await answer
        except TimeoutError as error:
            raise Unreachable("no commit in time", where=self._stream, expected=f"{COMMIT_TIMEOUT_S:g}s") from error
        finally:
            answer.cancel()
        return int(decode_answer(message[4], where=self._stream)["seq"])

    async def _with_seqs(self, controls: dict[str, bytes]) -> list[tuple[str, bytes, int]]:
        for subject in controls:
            if subject not in self._control_seqs:
                found = await self._api.last(self._stream, subject)
                self._control_seqs[subject] = found.seq if found is not None else 0
        return [(subject, payload, self._control_seqs[subject]) for subject, payload in controls.items()]

    def _encode(self, batch: _Batch, controls: list[tuple[str, bytes, int]], reply: bytes) -> list[bytes]:
        batch_id = f"{self._prefix}{self._incarnation}-{self._attempts}"
        head = f"NATS/1.0\r\nNats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: ".encode("ascii")
        base = len(head) + 4  # the number's line end and the block's
        chunks: list[bytes] = []
        out: list[bytes] = []
        size = number = 0
        for message in batch.messages[batch.skip :] if batch.skip else batch.messages:
            number += 1
            digits = b"%d" % number
            payload = message.payload
            lines = (
                b""
                if message.content_type is None and message.samples_count == 1 and not message.headers
                else header_lines(message)
            )
            block = base + len(digits) + len(lines)
            total = block + len(payload)
            out.append(
                b"HPUB %b%b %d %d\r\n%b%b\r\n%b\r\n%b\r\n"
                % (self._wire_prefix, subject_bytes(message.subject), block, total, head, digits, lines, payload)
            )
            size += total
            if size >= _CHUNK_BYTES:
                chunks.append(b"".join(out))
                out.clear()
                size = 0
        for subject, payload, seq in [*controls, (self._head.subject, batch.payload, self._head.seq)]:
            number += 1
            is_last = number == len(batch.messages) - batch.skip + len(controls) + 1
            lines = b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % seq + (
                b"Nats-Batch-Commit: 1\r\n" if is_last else b""
            )
            block_bytes = b"%b%d\r\n%b\r\n" % (head, number, lines)
            out.append(
                b"HPUB %b%b %b %d %d\r\n%b%b\r\n"
                % (
                    self._wire_prefix,
                    subject.encode(),
                    reply if is_last else b"",
                    len(block_bytes),
                    len(block_bytes) + len(payload),
                    block_bytes,
                    payload,
                )
            )
        chunks.append(b"".join(out))
        return chunks

    # -- certainty ----------------------------------------------------------------------------------------------------

    async def _adopt(self) -> None:
        """Start from the newest record of the stream; count what a torn commit of ours left behind it."""
        state = await self._api.state(self._stream)
        self._queue.bound(self._connection.max_payload, state.bytes_max)
        if state.bytes_max > 0:
            self._batch_bytes_max = min(BATCH_BYTES_MAX, state.bytes_max // BATCH_SHARE)
        self._head.adopt(await self._api.last(self._stream, self._head.subject))
        self._connects = self._connection.connects
        tail = await self._tail(state)
        self._head.tail_messages = len(tail)
        self._head.tail_samples = sum(count for _, _, count in tail)

    async def _resolve(self, batch: _Batch) -> int | None:
        """The sequence of the batch's record when it is stored, None when it has to be sent again. Raises
        FencedError."""
        backoff = Backoff(RETRY_FLOOR_S, RETRY_CEILING_S)
        while True:
            try:
                return await self._resolve_once(batch)
            except FencedError:
                raise
            except PlantError:  # no answer yet: ask again until there is one
                await asyncio.sleep(backoff.next_s())

    async def _resolve_once(self, batch: _Batch) -> int | None:
        await self._connection.wait_connected()
        found = await self._api.last(self._stream, self._head.subject)
        self._control_seqs.clear()
        if found is not None and found.payload == batch.payload:
            return found.seq
        if found is None:  # the first batch, or the old record has aged out
            self._head.seq = 0
        elif found.payload == self._head.payload:
            self._head.seq = found.seq
        else:
            before = self._head.record.batch
            probe = LedgerHead(self._head.subject, self._clock)
            probe.adopt(found)
            if probe.record.batch >= before:
                raise self._head.fenced(found)
            await self._adopt()  # the store was rolled back: what it holds now is the truth to continue from
            batch.record = self._head.next(len(batch.messages), sum(m.samples_count for m in batch.messages))
            batch.payload = encode_record(batch.record)
            return None
        if self._connection.connects != self._connects:
            batch.skip = self._torn(batch, await self._tail(await self._api.state(self._stream)))
        return None

    async def _tail(self, state: StreamState) -> list[tuple[str, bytes, int]]:
        """Subject, payload, samples of our own messages behind the newest record; after a power loss in the middle of a
        commit a prefix of the batch may stand there."""
        start = max(self._head.seq + 1, state.first_seq)
        found: list[tuple[str, bytes, int]] = []
        if state.last_seq < start:
            return found
        async with aclosing(self._reader.read(self._stream, start_seq=start)) as batches:
            async for received in batches:
                for message in received:
                    headers = parse_headers(message.headers)
                    is_ours = headers.values.get("Nats-Batch-Id", "").startswith(self._prefix)
                    if is_ours and not is_ledger_subject(message.subject):
                        found.append((message.subject, message.payload, int(headers.values.get("Ms-Count", "1"))))
                if not received or received[-1].seq >= state.last_seq:
                    break
        return found

    @staticmethod
    def _torn(batch: _Batch, tail: list[tuple[str, bytes, int]]) -> int:
        """How many messages at the front of `batch` the stream has already."""
        have = [(subject, payload) for subject, payload, _ in tail]
        want = [(m.subject, m.payload) for m in batch.messages]
        count = min(len(have), len(want))
        while count and have[-count:] != want[:count]:
            count -= 1
        return count
