"""What a connector has given and the store has not yet answered: in order, bounded, safe against cancellation."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from millstream.edge._deadletter import DeadLetterStore
from millstream.edge._pipeline import DeadLetter, Output, Pipeline
from millstream.edge._progress import NOTHING_BEHIND, Behind, Mark, Progress, encode_progress
from millstream.edge._tracing import Tracer
from millstream.kernel import Clock, PlantError
from millstream.model import Block, Event, Sample
from millstream.sdk import Control, Message, Position, Publisher, Stored

UNITS_UNANSWERED_MAX = 64  # of one connector; then it waits for the store
UNIT_MESSAGES_MAX = 900  # what the publisher takes; connectors give batches of at most 800, so that few are cut
UNIT_BYTES_MAX = 8 << 20
LETTERS_WAITING_MAX = 1000  # of one connector; then it waits for them
LETTERS_BATCH_MAX = 200
LETTERS_DELAY_NS_MAX = 100_000_000  # of a record by letters before it: so long a source waits for its acknowledgement
LETTERS_RETRY_S = 1.0
_REFUSED_UNIT = ("MS-0402", "MS-0403")  # this unit only; the ones behind it may be stored


@dataclass(frozen=True, slots=True)
class Settled:
    """Everything up to here is stored."""

    position: Position


@dataclass(slots=True)
class _Unit:
    messages: Sequence[Message]
    control: Control | None
    position: Position | None
    session: int


class Outbox:
    """Between one connector's pipeline and the publisher. `feed` is synchronous, `send` submits in order.

    A unit leaves the list of pending ones only when the publisher has it, so that a cancelled `send` loses nothing: the
    next one goes on.

    Dead letters are written beside, so that samples do not wait for them. A record says that all before it is kept, so
    there is none while letters wait; at the latest after `LETTERS_DELAY_NS_MAX` a source that rewinds waits for them.
    """

    def __init__(
        self, name: str, pipeline: Pipeline, *, publisher: Publisher, dead_letters: DeadLetterStore, clock: Clock,
        position_subject: str, counters: Callable[[], Mapping[str, int]], unit_bytes_max: int = UNIT_BYTES_MAX,
        tracer: Tracer | None = None, behind: Callable[[], Behind] = lambda: NOTHING_BEHIND,
    ) -> None:  # fmt: skip
        """`behind` tells what the samples behind the last position are."""
        self.mark = Mark()
        self.samples_stored_count = 0
        self._name = name
        self._pipeline = pipeline
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._clock = clock
        self._position_subject = position_subject
        self._counters = counters
        self._unit_bytes_max = min(UNIT_BYTES_MAX, unit_bytes_max)
        self._tracer = tracer
        self._behind = behind
        self._turn = 0
        self._out = Output()
        self.is_rewindable = False
        self._session = 0
        self._said: tuple[int, int] | None = None
        self._sent_mark = Mark()
        self._lock = asyncio.Lock()
        self._pending: deque[_Unit] = deque()
        self._pending_dead: deque[DeadLetter] = deque()
        self._dead_since_ns: int | None = None
        self._dead_error: PlantError | None = None
        self._dead_come = asyncio.Event()
        self._dead_gone = asyncio.Event()
        self._slots = asyncio.Semaphore(UNITS_UNANSWERED_MAX)
        self._unanswered: deque[tuple[_Unit, asyncio.Future[Stored] | PlantError]] = deque()
        self._changed = asyncio.Event()
        self._all_settled = asyncio.Event()
        self._all_settled.set()
        self._collected = asyncio.Event()
        self._stored: Settled | None = None
        self._stored_event = asyncio.Event()

    @property
    def unanswered_count(self) -> int:
        """Units that the store has not answered; at most `UNITS_UNANSWERED_MAX`."""
        return len(self._unanswered)

    def adopt(self, mark: Mark, *, is_rewindable: bool, turn: int = 0) -> None:
        """Continue where the last run stood; `is_rewindable` when it has left a record of positions, `turn` as the
        records from now on have it."""
        self.mark = self._sent_mark = mark
        self.is_rewindable = is_rewindable
        self._turn = turn

    def begin_session(self) -> None:
        """Positions of earlier sessions are not acknowledged in this one: its resume position says as much."""
        self._session += 1
        self._stored = None

    async def expect_positions(self) -> None:
        """The source rewinds: from now on samples behind the last position are counted. The first record comes before
        any data, so that what a crash leaves without a record always stands behind one. Raises PlantError."""
        if self.is_rewindable:
            return
        async with self._lock:
            beginning = Control(self._position_subject, self._record(Mark()))
            await (await self._publisher.submit((), beginning))
        self.is_rewindable = True

    # -- in -----------------------------------------------------------------------------------------------------------

    def feed(self, sample: Sample) -> bool:
        """One sample. True when a unit is full: call `send` before the next."""
        self._pipeline.feed_one(sample, self._clock.now_ns(), self._clock.monotonic_ns(), self._out)
        return self._advance(1)

    def feed_block(self, block: Block) -> bool:
        """One block, as `feed`."""
        self._pipeline.feed_block(block, self._clock.now_ns(), self._clock.monotonic_ns(), self._out)
        return self._advance(len(block))

    def feed_event(self, event: Event) -> bool:
        """One event, as `feed`. It has no place among the samples that a source gives again."""
        self._pipeline.feed_event(event, self._out)
        return self._advance(0)

    def _advance(self, count: int) -> bool:
        if self.is_rewindable:
            self.mark = Mark(self.mark.position, self.mark.skip + count)
        out = self._out
        return len(out.messages) >= UNIT_MESSAGES_MAX or out.bytes >= self._unit_bytes_max

    def reached(self, position: Position, *, skip: int = 0) -> None:
        """All data up to `position` has been fed, and `skip` samples behind it are stored already."""
        self.mark = Mark(position, skip)

    def lose_link(self) -> None:
        """Mark every tag as without communication, once."""
        self._pipeline.lose_link(self._clock.now_ns(), self._out)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Store dead letters, before any record that comes later. Waits only when too many wait already."""
        async with self._lock:
            self._add_dead(letters)
            await self._await_letters(LETTERS_WAITING_MAX)

    def _add_dead(self, letters: Sequence[DeadLetter]) -> None:
        if letters:
            self._pending_dead += letters
            if self._dead_since_ns is None:
                self._dead_since_ns = self._clock.monotonic_ns()
            self._dead_come.set()

    async def _await_letters(self, count_max: int) -> None:
        """Until at most so many wait. Raises what refuses them."""
        while len(self._pending_dead) > count_max and self._dead_error is None:
            self._dead_gone.clear()
            await self._dead_gone.wait()
        error, self._dead_error = self._dead_error, None
        if error is not None:
            raise error

    async def write_letters(self) -> None:
        """Write what waits, for ever; the record that waited for it follows."""
        while True:
            while not self._pending_dead:
                self._dead_come.clear()
                await self._dead_come.wait()
            letters = tuple(islice(self._pending_dead, LETTERS_BATCH_MAX))
            try:
                await self._dead_letters.write_all(self._name, letters)
            except PlantError as error:
                self._dead_error = error  # whoever feeds next is told; the letters stay
                self._dead_gone.set()
                await self._clock.sleep(LETTERS_RETRY_S)
                continue
            self._dead_error = None
            for _ in letters:
                self._pending_dead.popleft()
            if not self._pending_dead:
                self._dead_since_ns = None
            self._dead_gone.set()
            if not self._pending_dead and self.is_rewindable:
                await self.send()

    # -- out ----------------------------------------------------------------------------------------------------------

    async def send(self, *, flush: bool = False) -> None:
        """Submit what was fed; waits while the store is behind. With `flush` also what is being collected."""
        async with self._lock:
            if flush:
                self._pipeline.flush_all(self._clock.now_ns(), self._out)
            self._add_dead(self._out.take_dead())
            await self._await_letters(0 if flush or self._is_record_late() else LETTERS_WAITING_MAX)
            self._make_units()
            await self._send_units()
        if self._pipeline.is_collecting:
            self._collected.set()

    def _is_record_late(self) -> bool:
        since_ns = self._dead_since_ns
        is_late = since_ns is not None and self._clock.monotonic_ns() - since_ns > LETTERS_DELAY_NS_MAX
        return is_late and self.is_rewindable

    def _make_units(self) -> None:
        taken: Sequence[Message] = self._out.take()
        if self._tracer is not None:
            taken = self._tracer.stamp(taken, self._clock.monotonic_ns(), self._clock.now_ns())
        *parts, messages = _parts(taken, self._unit_bytes_max)
        control = self._control() or (self._presence() if messages else None)
        for part in parts:
            self._pending.append(_Unit(part, None, None, self._session))
        if messages or control is not None:
            position = self.mark.position if control is not None and not self.mark.skip else None
            self._pending.append(_Unit(messages, control, position, self._session))

    def _control(self) -> Control | None:
        """The record of the mark, when there is something new to say and everything before it is in the units. While
        repeats are awaited there is none: behind it a second crash would not look for those still to come."""
        mark = self.mark
        if mark == self._sent_mark or not self.is_rewindable or self._pipeline.is_collecting:
            return None
        if self._pipeline.awaits_repeats or self._pending_dead:
            return None
        self._sent_mark = mark
        return Control(self._position_subject, self._record(mark))

    def _record(self, mark: Mark, *, rewinds: bool = True) -> bytes:
        behind = self._behind() if mark.skip else NOTHING_BEHIND
        return encode_progress(Progress(mark, self._counters(), rewinds, self._turn, behind=behind))

    def _presence(self) -> Control | None:
        """A source that cannot rewind leaves a record as well, with its first data and whenever more is known to be
        missing: the next run then knows that something may be missing before it."""
        counters = dict(self._counters())
        known = (counters.get("gaps", 0), counters.get("quarantined", 0))
        if self.is_rewindable or known == self._said:
            return None
        self._said = known
        return Control(self._position_subject, self._record(Mark(), rewinds=False))

    async def _send_units(self) -> None:
        while self._pending:
            unit = self._pending[0]
            await self._slots.acquire()
            try:
                answer: asyncio.Future[Stored] | PlantError = await self._publisher.submit(unit.messages, unit.control)
            except PlantError as error:
                answer = error
            except asyncio.CancelledError:
                self._slots.release()
                raise
            self._pending.popleft()
            self._unanswered.append((unit, answer))
            self._all_settled.clear()
            self._changed.set()

    async def flush_when_due(self) -> None:
        """Send collected blocks when their publishing interval is over, for ever."""
        while True:
            due_ns = self._pipeline.due_ns
            if due_ns is None:
                self._collected.clear()
                await self._collected.wait()
                continue
            delay_s = min(due_ns - self._clock.monotonic_ns(), self._pipeline.publishing_ns_min) / 1e9
            if delay_s > 0:
                await self._clock.sleep(delay_s)
                continue
            # A position covers all tags, so a source that rewinds has all its collected blocks sent with it.
            if not self.is_rewindable:
                self._pipeline.flush_due(self._clock.now_ns(), self._clock.monotonic_ns(), self._out)
            await self.send(flush=self.is_rewindable)

    # -- answers ------------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Take the store's answers in order, for ever. Raises the PlantError after which nothing can be stored."""
        while True:
            while not self._unanswered:
                self._changed.clear()
                await self._changed.wait()
            unit, answer = self._unanswered[0]
            error = answer if isinstance(answer, PlantError) else await _outcome(answer)
            if error is None:
                self.samples_stored_count += sum(m.samples_count for m in unit.messages)
            elif error.code in _REFUSED_UNIT:
                await self._bury_unit(unit, error)
            else:
                raise error
            if unit.position is not None and unit.session == self._session:
                self._stored = Settled(unit.position)
                self._stored_event.set()
            self._unanswered.popleft()
            self._slots.release()
            if not self._unanswered:
                self._all_settled.set()

    async def _bury_unit(self, unit: _Unit, error: PlantError) -> None:
        letters = []
        for message in unit.messages:
            self._pipeline.counters.dead += message.samples_count
            letters.append(DeadLetter(message.payload, str(error), error.code, message.subject, message.content_type))
        await self._dead_letters.write_all(self._name, letters)

    async def drained(self) -> None:
        """Wait until everything submitted is answered and every letter is stored."""
        await self._await_letters(0)
        await self._all_settled.wait()

    async def next_stored(self) -> Settled:
        """Wait for the newest stored position that was not taken yet."""
        while self._stored is None:
            self._stored_event.clear()
            await self._stored_event.wait()
        settled = self.take_stored()
        if settled is None:
            raise AssertionError("nobody else takes positions")
        return settled

    def take_stored(self) -> Settled | None:
        """The newest stored position that was not taken yet."""
        settled, self._stored = self._stored, None
        return settled


def _parts(messages: Sequence[Message], bytes_max: int) -> list[Sequence[Message]]:
    """What the publisher takes at once; at least one part, which may be empty."""
    parts: list[Sequence[Message]] = []
    first = size = 0
    for index, message in enumerate(messages):
        length = len(message.payload)
        if index > first and (index - first >= UNIT_MESSAGES_MAX or size + length > bytes_max):
            parts.append(messages[first:index])
            first, size = index, 0
        size += length
    return [*parts, messages[first:]]


async def _outcome(future: asyncio.Future[Stored]) -> PlantError | None:
    """Wait for an answer; our cancellation leaves the publisher's future alone."""
    await asyncio.wait([future])
    error = None if future.cancelled() else future.exception()
    if error is None or isinstance(error, PlantError):
        return error
    raise error
