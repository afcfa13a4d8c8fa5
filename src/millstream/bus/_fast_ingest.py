"""Throughput class: fast ingest (ADR-50, second part), windowed, in batches that each end with their ledger record.

Every batch starts with the expected last sequence of the stream, so its place is known to the message. It ends with
the ledger's record (at the latest a second after the first uncounted message) or, when a trickle pauses, without one,
since only the end of a batch makes the server acknowledge the last messages. What is sent is kept until its batch is
committed. After any doubt (lost link, gap, refusal, full stream) the batches are closed at the server, so that late
bytes of a dead link are refused, the stream is read from the first doubtful sequence on and matched with what was sent,
and the rest goes out again. A batch whose start the server has not read yet cannot be closed: it is remembered as
unstarted until the stream has moved on, which makes its start void. Until then all goes out again to the letter, with
its records, and a batch ends where an unstarted one begins: should that start be read after all, it stores what belongs
there, and the next batch is refused. So kills lose and double nothing; a power loss, what the disk forgets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from types import TracebackType
from typing import Any, Self

import msgspec

from millstream.bus._fast_batch import Entry, FastBatch, Item, Recent, Seal, Unstarted, without_seals
from millstream.bus._jetstream import Refused, StreamApi, translate
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
)
from millstream.bus._queue import QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, Unit, UnitQueue, fail_unit, resolve_unit
from millstream.bus._reader import StreamReader
from millstream.bus._transport import Transport
from millstream.bus._units import header_lines
from millstream.kernel import Backoff, Clock, FencedError, PlantError, StoreFullError, SystemClock, Unreachable
from millstream.protocols.ledger import LedgerRecord, encode_record, is_ledger_subject
from millstream.protocols.nats_wire import WireMessage, parse_headers, subject_bytes
from millstream.sdk import Control, Message, PublisherStats, Received, Stored

FLOW = 500  # messages between two acks, as asked for; the server may say less
WINDOW_MESSAGES = 8000  # sent and not yet acknowledged
BURST_MESSAGES, BURST_BYTES = 1000, 1024 * 1024  # of one loop turn
BATCH_MESSAGES_MAX, BATCH_BYTES_MAX = 20_000, 8 * 1024 * 1024  # after so much a batch ends with its record
RECORD_S = 1.0  # age of the first uncounted message at which a record is written
PAUSE_S = 0.020  # a trickle that pauses so long ends its batch
UNACKED_S = 0.050  # so does one that is too slow for the server's acks
ACK_TIMEOUT_S = 5.0
REFUSALS_MAX = 5  # tries of one message without progress before its unit is given up

_START, _APPEND, _COMMIT, _END = range(4)
_Found = tuple[str, bytes, int, int]  # subject, payload, samples and sequence of a stored message


class FastIngestPublisher:
    """`Publisher` of one throughput stream that nobody else writes. Entering raises NotFoundError, Unreachable.

    `publish_prefix` stands before each subject on the wire when the stream listens elsewhere and transforms it away.
    """

    def __init__(
        self, connection: Transport, stream: str, *, ledger_subject: str, publish_prefix: str = "",
        domain: str | None = None, clock: Clock | None = None, queue_messages_max: int = QUEUE_MESSAGES_MAX,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._stream = stream
        self._publish_prefix = publish_prefix
        self._api = StreamApi(connection, domain, patience_s=START_PATIENCE_S)
        self._reader = StreamReader(connection, domain=domain)
        self._head = LedgerHead(ledger_subject, clock or SystemClock())
        self._wake = asyncio.Event()
        self._queue = UnitQueue(queue_messages_max, queue_bytes_max, self._wake)
        self._queue.is_atomic = False
        self._counters = Counters()
        self._task = OwnedTask()
        self._incarnation = incarnation()
        self._inbox = ""  # below the connection's, which is known once that is open
        self._batches: deque[FastBatch] = deque()  # not yet committed; only the last may still be open
        self._unstarted = Unstarted()
        self._ids = 0
        self._next_seq_base = 0
        self._recent = Recent()
        self.messages_lost = 0  # acknowledged, then lost by the stream, and too long ago to be stored again
        self._resend: list[Entry] = []
        self._closing: dict[str, asyncio.Future[bool]] = {}
        self._wire_subjects: dict[str, bytes] = {}
        self._settled = asyncio.Event()
        self._settled.set()
        self._trouble: PlantError | None = None
        self._is_flushing = False
        self._refusals = 0
        self._backoff = Backoff(RETRY_FLOOR_S, RETRY_CEILING_S)
        self._last_ack_s = 0.0
        self._uncounted_since_s: float | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._inbox = f"{self._connection.inbox}.f{self._incarnation}"
        self._sid = self._connection.subscribe(f"{self._inbox}.>", self._on_answers)
        self._forget = self._connection.on_lost(self._on_lost)
        with ExitStack() as undo:  # whatever ends the start, cancellation too, must not leave the subscription
            undo.callback(self._release)
            await self._adopt()
            await self._task.start(self._run, self._fail)
            undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await close_publisher(self.flush, self._task, error)
        finally:
            self._release()
            self._fail(Unreachable("the publisher was closed before this was stored", where=self._stream))

    def _release(self) -> None:
        self._forget()
        self._connection.unsubscribe(self._sid)

    async def submit(
        self, messages: Sequence[Message], control: Control | None = None, *, patience_s: float = 0.0
    ) -> asyncio.Future[Stored]:
        """See `Publisher.submit`; controls follow their messages not atomically, nothing waits. Raises PlantError."""
        return await self._queue.put(messages, control)

    async def last_control(self, subject: str) -> bytes | None:
        """See `Publisher.last_control`. Raises Unreachable."""
        found = await self._api.last(self._stream, subject)
        return found.payload if found is not None else None

    async def after_control(self, subject: str) -> list[Received]:
        """See `Publisher.after_control`. Raises Unreachable."""
        return await read_after_control(self._api, self._reader, self._stream, subject)

    async def flush(self) -> None:
        """Wait until all that was submitted is stored and its record written."""
        last = self._queue.last
        if self._settled.is_set() and (last is None or last.done()):
            return
        self._is_flushing = True
        self._wake.set()
        if last is not None and not last.done():
            await asyncio.shield(last)
        await self._settled.wait()

    def stats(self) -> PublisherStats:
        """Counters since start."""
        in_flight = self._outstanding() + len(self._resend)
        return self._counters.stats(self._queue, in_flight, self._connection.is_connected)

    def _fail(self, error: PlantError) -> None:
        for batch in self._batches:
            for _, unit in batch.units:
                fail_unit(unit, error)
        for _, ending in self._resend:
            for unit in ending:
                fail_unit(unit, error)
        self._queue.fail(error)
        self._settled.set()

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                await self._ingest()
            except FencedError:
                self._trouble = self._trouble or Unreachable("the stream's last sequence is not the expected one")
            except StoreFullError:
                self._counters.is_full = True  # the source is held back by the queue's bound; nothing is dropped
                await asyncio.sleep(self._backoff.next_s())
            except PlantError as error:
                self._trouble = error
                await asyncio.sleep(self._backoff.next_s())
            await self._resolve()

    async def _ingest(self) -> None:
        """Send until there is trouble, which is raised."""
        while True:
            if self._trouble is not None:
                raise self._trouble
            outstanding = self._outstanding()
            has_sent = False
            if outstanding < WINDOW_MESSAGES and (self._resend or len(self._queue)) and not self._must_wait():
                self._send_burst(WINDOW_MESSAGES - outstanding)
                has_sent = True
            self._end_when_due()
            if has_sent:
                await self._connection.drained()
                await asyncio.sleep(0)
                continue
            self._wake.clear()
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            except TimeoutError:
                self._on_pause()

    def _must_wait(self) -> bool:
        """While a late start is possible one batch goes out at a time, so that each is fenced by the one before."""
        return bool(self._unstarted and self._batches) and self._batches[-1].is_ended

    def _outstanding(self) -> int:
        """Sent and not yet acknowledged; the end of a batch is answered too."""
        return sum([len(b.items) - b.acked + b.is_ended for b in self._batches])

    def _pause_s(self) -> float | None:
        if self._batches:
            return PAUSE_S
        if self._uncounted_since_s is None:
            return None
        return max(0.0, self._uncounted_since_s + RECORD_S - self._loop.time())

    def _on_pause(self) -> None:
        """Nothing happened for a while: end the batch of a trickle; a server that does not answer is trouble."""
        batch = self._batches[-1] if self._batches else None
        if batch is None:
            return
        if not batch.is_ended:
            self._end(batch)
        if self._loop.time() - self._last_ack_s > ACK_TIMEOUT_S:
            raise Unreachable("no ack in time", where=self._stream, expected=f"{ACK_TIMEOUT_S:g}s")

    def _end_when_due(self) -> None:
        """Write the record when it is time, in the open batch or in one of its own."""
        batch = self._batches[-1] if self._batches else None
        if self._resend:  # its records are made; one more would shift them
            if batch is not None and not batch.is_ended and not self._unstarted.room(batch):
                self._end(batch)
            return
        if self._uncounted_since_s is None or self._must_wait():
            return
        is_large = batch is not None and (len(batch.items) >= BATCH_MESSAGES_MAX or batch.bytes >= BATCH_BYTES_MAX)
        is_flushed = self._is_flushing and not self._resend and not len(self._queue)
        if is_large or is_flushed or self._loop.time() - self._uncounted_since_s >= RECORD_S:
            self._write_record(self._open_batch())
        elif (
            batch is not None
            and not batch.is_ended
            and self._loop.time() - max(batch.opened_s, self._last_ack_s) > UNACKED_S
        ):
            self._end(batch)

    # -- sending ------------------------------------------------------------------------------------------------------

    def _open_batch(self) -> FastBatch:
        before = self._batches[-1] if self._batches else None
        if before is not None and not before.is_ended:
            return before
        now_s = self._loop.time()
        base = self._next_seq_base if before is None else before.last_seq
        opened = self._new_batch(base, now_s)
        if before is None:
            self._last_ack_s = now_s
            opened.messages, opened.samples = self._head.tail_messages, self._head.tail_samples
        elif before.record is None:
            opened.messages, opened.samples = before.messages, before.samples
        self._batches.append(opened)
        self._settled.clear()
        return opened

    def _new_batch(self, base_seq: int, now_s: float) -> FastBatch:
        self._ids += 1
        batch_id = f"{self._incarnation}{self._ids}"
        return FastBatch(batch_id, f"{self._inbox}.{batch_id}.{FLOW}.fail.", base_seq, now_s)

    def _send_burst(self, room: int) -> None:
        batch = self._open_batch()
        out: list[bytes] = []
        room = min(room, BURST_MESSAGES)
        if self._resend:
            self._put_again(batch, min(room, self._unstarted.room(batch)), out)
        else:
            self._put_units(batch, self._queue.take(messages_max=room, bytes_max=BURST_BYTES), out)
        self._connection.write(b"".join(out))

    def _put_again(self, batch: FastBatch, room: int, out: list[bytes]) -> None:
        """Up to `room` messages, or up to the next record, which ends the batch as it did before."""
        for at in range(min(room, len(self._resend))):
            item, ending = self._resend[at]
            self._counters.resends += 1
            if isinstance(item, Seal):
                self._put_record(batch, item, out)
                self._resend = self._resend[at + 1 :]
                return
            self._put(batch, item, out)
            batch.units.extend((len(batch.items), unit) for unit in ending)
        self._resend = self._resend[room:]

    def _put_units(self, batch: FastBatch, units: list[Unit], out: list[bytes]) -> None:
        controls: dict[str, Control] = {}
        ends: list[tuple[int, Unit]] = []
        for unit in units:
            for message in unit.messages:
                self._put(batch, message, out)
            batch.bytes += unit.size_bytes
            ends.append((len(batch.items), unit))
            if unit.control is not None:
                controls[unit.control.subject] = unit.control
        for control in controls.values():
            self._put(batch, control, out)
        last = len(batch.items)
        batch.units.extend((last if unit.control is not None else end, unit) for end, unit in ends)

    def _put(self, batch: FastBatch, item: Item, out: list[bytes]) -> None:
        items = batch.items
        items.append(item)
        if self._uncounted_since_s is None:
            self._uncounted_since_s = batch.opened_s
        number = len(items)
        payload = item.payload
        subject = self._wire_subjects.get(item.subject) or self._wire_subject(item.subject)
        lines = b""
        if type(item) is Message:
            batch.messages += 1
            batch.samples += item.samples_count
            if item.content_type is not None or item.samples_count != 1 or item.headers:
                lines = header_lines(item)
        if number == 1:
            lines += b"Nats-Expected-Last-Sequence: %d\r\n" % batch.base_seq
        if not lines:
            out.append(b"PUB %b %b%d.1.$FI %d\r\n%b\r\n" % (subject, batch.prefix, number, len(payload), payload))
            return
        self._put_with_headers(subject, b"%b%d.%d.$FI" % (batch.prefix, number, number > 1), lines, payload, out)

    @staticmethod
    def _put_with_headers(subject: bytes, reply: bytes, lines: bytes, payload: bytes, out: list[bytes]) -> None:
        size = len(lines) + 12
        out.append(
            b"HPUB %b %b %d %d\r\nNATS/1.0\r\n%b\r\n%b\r\n"
            % (subject, reply, size, size + len(payload), lines, payload)
        )

    def _write_record(self, batch: FastBatch) -> None:
        """End `batch` with a record of what came since the one before."""
        before = next((b.record for b in reversed(self._batches) if b.record is not None), self._head.record)
        record = self._head.next(batch.messages, batch.samples, before)
        out: list[bytes] = []
        self._put_record(batch, Seal(self._head.subject, encode_record(record), record), out)
        self._connection.write(out[0])

    def _put_record(self, batch: FastBatch, seal: Seal, out: list[bytes]) -> None:
        """End `batch` with this record, fenced by the place of the one before."""
        fence = next((b.last_seq for b in reversed(self._batches) if b.record is not None), self._head.seq)
        number = len(batch.items) + 1
        lines = b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % fence
        if number == 1:
            lines += b"Nats-Expected-Last-Sequence: %d\r\n" % batch.base_seq
        self._put_with_headers(
            self._wire_subject(seal.subject), b"%b%d.%d.$FI" % (batch.prefix, number, _COMMIT), lines, seal.payload, out
        )
        batch.seal = seal
        batch.is_ended = True
        self._uncounted_since_s = None

    def _end(self, batch: FastBatch, number: int | None = None) -> None:
        """End `batch` without storing anything more."""
        reply = b"%b%d.%d.$FI" % (batch.prefix, number or len(batch.items) + 1, _END)
        self._connection.write(b"PUB %b %b 0\r\n\r\n" % (self._wire_subject(self._head.subject), reply))
        batch.is_ended = True

    def _wire_subject(self, subject: str) -> bytes:
        encoded = subject_bytes(self._publish_prefix + subject)
        if len(self._wire_subjects) >= 65536:
            self._wire_subjects.clear()
        self._wire_subjects[subject] = encoded
        return encoded

    # -- answers ------------------------------------------------------------------------------------------------------

    def _on_answers(self, answers: list[WireMessage]) -> None:
        for _, subject, _, headers, payload in answers:
            batch_id = subject[len(self._inbox) + 1 :].partition(b".")[0].decode("ascii")
            if headers is not None and headers.startswith(b"NATS/1.0 503"):
                answer: dict[str, Any] = {"error": {"code": 400, "description": "no stream takes this subject"}}
            else:
                answer = msgspec.json.decode(payload)
            closing = self._closing.get(batch_id)
            if closing is not None:
                if answer.get("type") != "ack" and not closing.done():
                    closing.set_result("error" not in answer)
                continue
            batch = next((b for b in self._batches if b.id == batch_id), None)
            if batch is not None:
                self._on_answer(batch, answer)
        self._wake.set()

    def _on_answer(self, batch: FastBatch, answer: dict[str, Any]) -> None:
        kind = answer.get("type")
        if kind == "ack":
            self._last_ack_s = self._loop.time()
            self._acked(batch, min(int(answer["seq"]), len(batch.items)))
        elif "error" in answer:
            batch.is_refused = True
            self._trouble = self._trouble or translate(answer["error"], self._stream)
        elif kind == "gap":
            self._trouble = self._trouble or Unreachable("the server misses messages", where=self._stream)
        elif not batch.is_ended or int(answer["seq"]) != batch.last_seq:
            self._trouble = self._trouble or Unreachable("the server ended the batch", where=self._stream)
        elif batch is self._batches[0]:
            self._committed(batch)

    def _acked(self, batch: FastBatch, number: int) -> None:
        if number <= batch.acked:
            return
        batch.acked = number
        units, stored = batch.units, Stored(self._stream, batch.base_seq + number)
        self._on_progress(stored.last_seq)
        while units and units[0][0] <= number:
            self._count_unit(units.popleft()[1], stored)

    def _on_progress(self, last_seq: int) -> None:
        self._unstarted.passed(last_seq)
        self._counters.is_full = False
        self._refusals = 0
        self._backoff.reset()

    def _count_unit(self, unit: Unit, stored: Stored) -> None:
        messages, counters = unit.messages, self._counters
        counters.messages += len(messages)
        counters.samples += (
            messages[0].samples_count if len(messages) == 1 else sum([m.samples_count for m in messages])
        )
        resolve_unit(unit, stored)

    def _committed(self, batch: FastBatch) -> None:
        self._last_ack_s = self._loop.time()
        self._acked(batch, len(batch.items))
        self._counters.batches += 1
        self._counters.commit_ms_last = (self._last_ack_s - batch.opened_s) * 1e3
        self._next_seq_base = batch.last_seq
        if batch.record is not None:
            self._head.committed(batch.record, batch.last_seq)
        else:
            self._head.tail_messages, self._head.tail_samples = batch.messages, batch.samples
        self._batches.popleft()
        self._recent.add(batch, self._last_ack_s)
        self._settle()

    def _settle(self) -> None:
        if not self._batches and not self._resend and self._uncounted_since_s is None:
            self._is_flushing = False
            self._settled.set()

    def _on_lost(self) -> None:
        self._trouble = Unreachable("the link was lost", where=self._stream)
        self._wake.set()

    # -- certainty ----------------------------------------------------------------------------------------------------

    async def _adopt(self) -> None:
        """Start from the newest record; what stands behind it was stored by an earlier life and is counted in."""
        state = await self._api.state(self._stream)
        self._queue.bound(self._connection.max_payload, state.bytes_max)
        self._head.adopt(await self._api.last(self._stream, self._head.subject))
        for subject, _, samples, _ in await self._read(max(self._head.seq + 1, state.first_seq), state.last_seq):
            if not is_ledger_subject(subject):
                self._head.tail_messages += 1
                self._head.tail_samples += samples
        self._next_seq_base = state.last_seq
        self._recent.clear()
        self._uncounted_since_s = self._loop.time() if self._head.tail_messages else None

    async def _resolve(self) -> None:
        """Find out what is stored, keep the rest for sending again. Raises FencedError."""
        backoff = Backoff(RETRY_FLOOR_S, RETRY_CEILING_S)
        while True:
            try:
                await self._connection.wait_connected()
                self._trouble = None
                await self._resolve_once()
                return
            except FencedError:
                raise
            except PlantError:  # no answer yet: ask again until there is one
                await asyncio.sleep(backoff.next_s())

    async def _resolve_once(self) -> None:
        sent = [*self._unstarted.batches, *self._batches]
        for batch in sent:
            if not await self._close_at_server(batch) and not batch.is_refused:
                self._unstarted.add(batch)
        state = await self._api.state(self._stream)
        found = await self._api.last(self._stream, self._head.subject)
        seals = [b.seal for b in sent if b.seal is not None]
        seals += [item for item, _ in self._resend if type(item) is Seal]
        ours = {seal.payload: seal.record for seal in seals}
        if found is not None and found.payload != self._head.payload and found.payload not in ours:
            probe = LedgerHead(self._head.subject, SystemClock())
            probe.adopt(found)
            if probe.record.batch >= self._head.record.batch:
                raise self._head.fenced(found)
        base = self._batches[0].base_seq if self._batches else self._next_seq_base
        stored: list[_Found] = []
        if state.last_seq < base:  # the store has lost what it had acknowledged
            lost = self._recent.behind(state.last_seq)
            if lost is not None:
                await self._store_again(lost, state.last_seq)
                state = await self._api.state(self._stream)
                if state.last_seq != base:
                    raise Unreachable("the lost tail is not back yet", where=self._stream)
            else:  # what it holds now is the truth to continue from
                had = self._head.record.total_messages + self._head.tail_messages
                await self._adopt()
                self.messages_lost += had - self._head.record.total_messages - self._head.tail_messages
        else:
            stored = await self._read(max(base + 1, state.first_seq), state.last_seq)
        self._keep_rest(stored, state.last_seq, ours)

    def _keep_rest(self, stored: list[_Found], last_seq: int, records: dict[bytes, LedgerRecord]) -> None:
        """Match what the stream holds with what was sent, in order; foreign messages in between are passed over.
        `records` are those of batches of ours that may have been stored, by payload."""
        base = self._batches[0].base_seq if self._batches else self._next_seq_base
        sent = [entry for batch in self._batches for entry in batch.entries()] + self._resend
        at = 0
        for subject, payload, samples, seq in stored:
            record = records.get(payload) if subject == self._head.subject else None
            if record is not None:
                self._head.committed(record, seq)
                self._counters.batches += 1
            if at == len(sent) or (subject, payload) != (sent[at][0].subject, sent[at][0].payload):
                continue
            item, ending = sent[at]
            if type(item) is Message:
                self._head.tail_messages += 1
                self._head.tail_samples += samples
            for unit in ending:
                self._count_unit(unit, Stored(self._stream, seq))
            at += 1
        was_full = self._counters.is_full
        if at:
            self._on_progress(last_seq)
        self._refusals = 0 if at or was_full else self._refusals + 1
        self._batches.clear()
        is_to_the_letter = last_seq == base + at
        self._resend = sent[at:] if is_to_the_letter else without_seals(sent[at:])
        self._next_seq_base = last_seq
        self._unstarted.passed(last_seq)
        self._uncounted_since_s = self._loop.time() if self._head.tail_messages else None
        if self._refusals >= REFUSALS_MAX and self._resend:
            self._give_up_first()
        self._settle()

    def _give_up_first(self) -> None:
        """The stream refuses the first message for good: its unit fails, the others go on."""
        self._refusals = 0
        at = next((n for n, (_, ending) in enumerate(self._resend) if ending), len(self._resend) - 1)
        for unit in self._resend[at][1]:
            fail_unit(unit, Refused("the stream refuses this message", err_code=0, where=self._stream))
        self._resend = without_seals(self._resend[at + 1 :])

    async def _store_again(self, items: list[Item], base_seq: int) -> None:
        """Put `items` back where they stood, to the letter, so that whoever has read them already reads on rightly."""
        batch = self._new_batch(base_seq, self._loop.time())
        self._unstarted.add(batch)  # should the link break meanwhile
        for start in range(0, len(items), BURST_MESSAGES):
            out: list[bytes] = []
            for item in items[start : start + BURST_MESSAGES]:
                self._put(batch, item, out)
            self._connection.write(b"".join(out))
            await self._connection.drained()
        self._counters.resends += len(items)
        await self._close_at_server(batch, is_complete=True)

    async def _close_at_server(self, batch: FastBatch, *, is_complete: bool = False) -> bool:
        """End a batch that may still be open: one that is not complete by a gap, so that bytes of a dead link that
        arrive later are refused. False when the server does not know it: ended before, or not begun yet."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self._closing[batch.id] = future
        try:
            self._end(batch, None if is_complete else len(batch.items) + 1_000_000)
            async with asyncio.timeout(ACK_TIMEOUT_S):
                return await future
        except TimeoutError as error:
            raise Unreachable("no answer to the end of a batch", where=self._stream) from error
        finally:
            del self._closing[batch.id]

    async def _read(self, start_seq: int, last_seq: int) -> list[_Found]:
        """What the stream holds in this range."""
        found: list[_Found] = []
        if last_seq < start_seq:
            return found
        async with aclosing(self._reader.read(self._stream, start_seq=start_seq)) as batches:
            async for received in batches:
                for message in received:
                    if message.seq <= last_seq:
                        count = parse_headers(message.headers).values.get("Ms-Count", "1")
                        found.append((message.subject, message.payload, int(count), message.seq))
                if not received or received[-1].seq >= last_seq:
                    break
        return found
