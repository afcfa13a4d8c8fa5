"""One supervised connector: the runtime's side of the contract in ``millstream.sdk``.

    session loop        opens, runs, closes, backs off; one session at a time
      poll groups       one task a sampling interval, fixed rate, never overlapping
      stream            one task, consumed at the store's pace
      writer            carries out writes, between reads
      flusher           sends collected blocks when their publishing interval is over
      acknowledger      tells the source what is stored
    settler             takes the store's answers in order, over all sessions
    letters             writes dead letters beside the samples, over all sessions

A position is written in the same unit as the last of its data. What a unit cannot hold is counted behind the last
position (`Mark.skip`) and left out when the source sends it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from millstream.edge._apart import run_apart
from millstream.edge._deadletter import DeadLetterStore
from millstream.edge._lifecycle import Halt, Lifecycle
from millstream.edge._outbox import UNIT_BYTES_MAX, Outbox, Settled
from millstream.edge._pipeline import DeadLetter, Pipeline
from millstream.edge._progress import Progress
from millstream.edge._standing import OtherClass, Standing
from millstream.edge._taken import Taken
from millstream.edge._tracing import Tracer
from millstream.edge._writer import SessionWriter
from millstream.kernel import Clock, FencedError, PlantError, ProtocolViolation, Unreachable
from millstream.model import Block, Sample
from millstream.sdk import (
    Acknowledged,
    Batch,
    Connector,
    Log,
    Polled,
    Publisher,
    Session,
    SourceCounted,
    Streamed,
    Tag,
)

OPEN_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
ACK_TIMEOUT_S = 30.0
REPEATS_WAIT_S = 30.0  # of one session
POLL_INTERVAL_S_MIN = 0.005  # "0s" means as fast as the source answers, but never a busy loop
BLOCK_ROWS_MAX = 65_536  # of one array block that go into one unit
LIST_ROWS_MAX = 1_000  # the same for values of any size


@dataclass(frozen=True, slots=True)
class ConnectorPlan:
    """What a supervisor needs to know of its connector. `position_subject` is where its positions are stored,
    `unit_bytes_max` what may be submitted at once, `tracer` begins traces, `other` is where positions are if the class
    of durability was another before."""

    name: str
    type: str
    tags: Sequence[Tag]
    position_subject: str
    unit_bytes_max: int = UNIT_BYTES_MAX
    tracer: Tracer | None = None
    other: OtherClass | None = None


class Supervisor:
    """Runs one connector until `stop`, or until it may not go on. `run` never raises but when cancelled."""

    def __init__(
        self, plan: ConnectorPlan, connector: Connector, pipeline: Pipeline, *, publisher: Publisher,
        dead_letters: DeadLetterStore, lifecycle: Lifecycle, clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.lifecycle = lifecycle
        self.pipeline = pipeline
        self.polls_missed_count = 0
        self.frames_quarantined_count = 0
        self.source_gaps_count = 0
        self.last_sample_ns = 0
        self._connector = connector
        self._clock = clock
        self._log = log
        self._taken = Taken(plan.tags)
        self.outbox = Outbox(
            plan.name, pipeline, publisher=publisher, dead_letters=dead_letters, clock=clock,
            position_subject=plan.position_subject, counters=self._kept_counters,
            unit_bytes_max=plan.unit_bytes_max, tracer=plan.tracer, behind=self._taken.behind,
        )  # fmt: skip
        self._standing = Standing(publisher, plan.position_subject, plan.other)
        self._skip = 0
        self._take_gaps: Callable[[], int] | None = None
        self._stopping = asyncio.Event()
        self._is_draining = False
        self._is_taking = False
        self._wake = asyncio.Event()
        self._again = asyncio.Event()
        self._died: str | None = None
        self._read_lock = asyncio.Lock()
        self.writer = SessionWriter(clock, self._read_lock)

    # -- what status shows --------------------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        """As the node's status shows it."""
        counters, life = self.pipeline.counters, self.lifecycle
        return {
            "name": self.plan.name,
            "type": self.plan.type,
            "state": life.state.value,
            "since_ns": life.since_ns,
            "notices_loss": self._connector.info.notices_loss,
            "opens": life.opens_count,
            "samples_received": counters.received,
            "samples_filtered": counters.filtered,
            "samples_bad": counters.bad,
            "samples_uncertain": counters.uncertain,
            "samples_waiting": counters.waiting,
            "samples_added": counters.added,
            "samples_dead": counters.dead,
            "samples_stored": self.outbox.samples_stored_count + counters.repeated,
            "clock_flags": counters.clock_flags,
            "polls_missed": self.polls_missed_count,
            "frames_quarantined": self.frames_quarantined_count,
            "source_gaps": self.source_gaps_count,
            "units_unanswered": self.outbox.unanswered_count,
            "last_sample_ns": self.last_sample_ns,
            "error": life.error,
            "traceback": life.trace,
        }

    def _kept_counters(self) -> dict[str, int]:
        counters = self.pipeline.counters
        return {
            "received": counters.received,
            "filtered": counters.filtered,
            "bad": counters.bad,
            "uncertain": counters.uncertain,
            "waiting": counters.waiting,
            "added": counters.added,
            "dead": counters.dead,
            "quarantined": self.frames_quarantined_count,
            "gaps": self.source_gaps_count,
        }

    def _adopt_counters(self, kept: Mapping[str, int]) -> None:
        counters = self.pipeline.counters
        for name in ("received", "filtered", "bad", "uncertain", "waiting", "added", "dead"):
            setattr(counters, name, getattr(counters, name) + kept.get(name, 0))
        self.frames_quarantined_count += kept.get("quarantined", 0)
        self.source_gaps_count += kept.get("gaps", 0)
        self.outbox.samples_stored_count += max(
            0, kept.get("received", 0) + kept.get("added", 0) - kept.get("filtered", 0) - kept.get("dead", 0)
        )

    # -- life ---------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Close the session, send what is collected, wait for the store; then `run` returns."""
        self._stopping.set()
        self._wake.set()

    def drain(self) -> None:
        """As `stop`, but what the source has begun to give is taken to its end first, so that its position covers all
        that is stored: whoever goes on from there may map the tags otherwise."""
        self._is_draining = True
        if not self._is_taking:
            self.stop()

    def go_on(self) -> None:
        """Take a `drain` back that has not led to a stop yet."""
        self._is_draining = False

    @property
    def is_stopping(self) -> bool:
        """No new batch is taken any more."""
        return self._stopping.is_set()

    def restart(self) -> None:
        """Close the session, or end the wait for the next one, and open again at once."""
        self._again.set()
        self._wake.set()

    async def run(self) -> None:
        """Open, work, close, wait, again."""
        try:
            async with asyncio.TaskGroup() as group:
                settler = group.create_task(self.outbox.settle(), name=f"{self.plan.name} settler")
                letters = group.create_task(self.outbox.write_letters(), name=f"{self.plan.name} letters")
                await self._sessions()
                await self.outbox.drained()
                settler.cancel()
                letters.cancel()
        except* Exception as errors:  # noqa: BLE001 - the store refuses this writer, or a bug: the others must go on
            self._fail_for_good(_first(errors))
        finally:
            self.lifecycle.closed(self._clock.now_ns())

    async def _sessions(self) -> None:
        if not await self._adopt_position():
            return
        while not self._stopping.is_set():
            self._again.clear()
            self.lifecycle.opening(self._clock.now_ns())
            try:
                await self._session()
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                failure: BaseException = Unreachable(f"the connector's library leaked a cancellation: {error}")
            except BaseExceptionGroup as errors:
                failure = _first(errors)
            except Exception as error:  # noqa: BLE001 - a connector is foreign code: its bug must not stop the others
                failure = error
            else:
                await self.outbox.send(flush=True)
                await self.outbox.drained()  # "ended" means that all of it is stored
                if not self._stopping.is_set():
                    self.lifecycle.ended(self._clock.now_ns())
                    self._log.info("source ended")
                return
            if not await self._recover(failure):
                return
        await self.outbox.send(flush=True)

    async def _adopt_position(self) -> bool:
        """Read where the last run stood. False when this cannot be known: starting anew could count twice."""
        while not self._stopping.is_set():
            try:
                progress, behind = await self._standing.find()
            except Unreachable as error:
                if not await self._recover(error, is_link=False):
                    return False
            except PlantError as error:
                self._fail_for_good(error)
                return False
            else:
                found = progress or Progress(rewinds=False)
                mark = self._taken.adopt(found.mark, found.behind)
                self.outbox.adopt(mark, is_rewindable=found.rewinds, turn=found.turn)
                self.pipeline.expect_repeats(behind)
                self._adopt_counters(found.counters)
                if progress is not None and not progress.rewinds:
                    # What it said while nobody listened is missing: the gap is marked, and at once, since the source
                    # may have nothing more to say, and its last value is no good one any more.
                    self.outbox.lose_link()
                    await self.outbox.send()
                return True
        return False

    async def _recover(self, error: BaseException, *, is_link: bool = True) -> bool:
        """Tell, mark the tags bad, keep the poison frame, wait. False when there is no next attempt."""
        if isinstance(error, ProtocolViolation) and error.frame:
            self.frames_quarantined_count += 1
            await self.outbox.bury([DeadLetter(error.frame, str(error), error.code)])
        decision = self.lifecycle.failed(error, self._clock.now_ns())
        if isinstance(decision, Halt):
            self._log.error("connector stopped", error=str(error))
        elif decision.is_new:
            self._log.warning("link down", error=self.lifecycle.error)
        if is_link:
            self.outbox.lose_link()
            await self.outbox.send(flush=True)
        if isinstance(decision, Halt):
            return False
        await self._pause(decision.delay_s)
        return True

    async def _pause(self, delay_s: float) -> None:
        """Until the time is over, the runtime stops, or a person asks for it."""
        async with asyncio.TaskGroup() as group:
            waits = [
                group.create_task(self._clock.sleep(delay_s)),
                group.create_task(self._until(self._stopping)),
                group.create_task(self._until(self._again)),
            ]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _until(self, event: asyncio.Event) -> None:
        await event.wait()

    def _fail_for_good(self, error: BaseException) -> None:
        self.lifecycle.failed(error if isinstance(error, FencedError) else _fatal(error), self._clock.now_ns())
        self._log.error("connector stopped", error=str(error))

    # -- one session --------------------------------------------------------------------------------------------------

    async def _session(self) -> None:
        """Returns when the source ends or the runtime stops; raises what broke it."""
        loop = asyncio.get_running_loop()
        deadline = asyncio.timeout(OPEN_TIMEOUT_S)
        phase = "open"
        try:
            async with deadline, self._connector.open() as session:
                deadline.reschedule(None)
                self.lifecycle.opened(self._clock.now_ns())
                try:
                    await run_apart(self._work(session), name=f"{self.plan.name} session")
                finally:
                    phase = "close"
                    deadline.reschedule(loop.time() + CLOSE_TIMEOUT_S)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            limit_s = OPEN_TIMEOUT_S if phase == "open" else CLOSE_TIMEOUT_S
            raise Unreachable(f"did not {phase} in time", where=self.plan.name, expected=f"{limit_s:g}s") from error

    async def _work(self, session: Session) -> None:
        self.outbox.begin_session()
        self._take_gaps = session.take_source_gaps if isinstance(session, SourceCounted) else None
        self._skip = 0
        self._died = None
        try:
            async with asyncio.TaskGroup() as group:
                start = partial(self._start, group)
                start(self._watch(), "watch")
                start(self.outbox.flush_when_due(), "flusher")
                start(self.writer.run(session), "writer")
                if self.pipeline.awaits_repeats:
                    start(self._forget_repeats(), "repeats")
                if isinstance(session, Acknowledged):
                    start(self._acknowledge(session), "acknowledger")
                if isinstance(session, Streamed):
                    start(self._stream(session), "stream")
                elif isinstance(session, Polled):
                    for interval_s, tags in _poll_groups(self.plan.tags):
                        start(self._poll(session, tags, interval_s), f"{interval_s:g}s")
                else:
                    raise TypeError(f"session {type(session).__name__} offers neither read nor stream")
        except* _Finished:
            pass
        if isinstance(session, Acknowledged):
            await self._acknowledge_last(session)

    async def _forget_repeats(self) -> None:
        """Positions wait for them, and with the positions the acknowledgements: not for ever."""
        await self._clock.sleep(REPEATS_WAIT_S)
        if self.pipeline.awaits_repeats:
            self._log.warning("the source did not give again what a crash left without a record")
            self.pipeline.forget_repeats()
            await self.outbox.send()

    def _start(self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None], name: str) -> None:
        task = group.create_task(work, name=f"{self.plan.name} {name}")
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._died = task.get_name()
            self._wake.set()

    async def _watch(self) -> None:
        """End the session when the runtime stops. A task that is cancelled while this one is not was cancelled by the
        connector's library: a group would wait for ever for the others."""
        while not self._stopping.is_set():
            self._wake.clear()
            await self._wake.wait()
            if self._died is not None:
                raise Unreachable("the connector's library leaked a cancellation", where=self._died)
            if self._again.is_set():
                raise Unreachable("a person asked to open it again", where=self.plan.name)
        raise _Finished

    async def _stream(self, session: Any) -> None:
        mark = self.outbox.mark
        self._skip = self._taken.begin_session(mark)
        async with aclosing(session.stream(self.plan.tags, mark.position)) as batches:
            async for batch in batches:
                await self._take_whole(batch)
        raise _Finished

    async def _poll(self, session: Any, tags: Sequence[Tag], interval_s: float) -> None:
        """Fixed rate: the schedule does not drift with the time a read takes; what is late is skipped and counted."""
        interval_ns = int(interval_s * 1e9)
        due_ns = self._clock.monotonic_ns()
        while True:
            async with self._read_lock:
                samples = await self._read(session, tags)
            await self._take(Batch(samples))
            due_ns += interval_ns
            late_ns = self._clock.monotonic_ns() - due_ns
            if late_ns > interval_ns:
                missed = late_ns // interval_ns
                self.polls_missed_count += missed
                due_ns += missed * interval_ns
            await self._clock.sleep(max(0.0, (due_ns - self._clock.monotonic_ns()) / 1e9))

    async def _read(self, session: Any, tags: Sequence[Tag]) -> Any:
        deadline = asyncio.timeout(READ_TIMEOUT_S)
        try:
            async with deadline:
                samples = await session.read(tags)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise Unreachable("no answer to a read", where=self.plan.name, expected=f"{READ_TIMEOUT_S:g}s") from error
        if len(samples) != len(tags):
            raise TypeError(f"read returned {len(samples)} samples for {len(tags)} tags")
        return samples

    # -- data ---------------------------------------------------------------------------------------------------------

    async def _take_whole(self, batch: Batch) -> None:
        """All of a batch, and none behind it once this is to come to rest."""
        if not self._is_draining:
            self._is_taking = True
            try:
                await self._take(batch)
            finally:
                self._is_taking = False
        if self._is_draining:
            self.stop()
            raise _Finished

    async def _take(self, batch: Batch) -> None:
        """Everything in a batch, in units, then its position."""
        now_ns = self._clock.now_ns()
        if self._take_gaps is not None:
            self.source_gaps_count += self._take_gaps()
        if batch.position is not None:
            await self.outbox.expect_positions()
        if batch.frames_bad:
            self.frames_quarantined_count += len(batch.frames_bad)
            await self.outbox.bury([DeadLetter(frame, reason) for frame, reason in batch.frames_bad])
        if batch.samples or batch.blocks:
            self.last_sample_ns = now_ns
        brings_data = bool(batch.samples or batch.blocks or batch.events)
        if (brings_data or batch.position is not None) and self.lifecycle.progressed(now_ns):
            self._log.info("link up")
        is_all = batch.position is not None and not batch.blocks and not batch.events
        await self._feed(self._not_stored(batch.samples), has_more=not is_all)
        for block in batch.blocks:
            for piece in map(self._without_skipped, _pieces(block)):
                if len(piece) and self._feed_piece(piece):
                    await self.outbox.send()
        for event in batch.events:
            if self.outbox.feed_event(event):
                await self.outbox.send()
        if batch.position is not None:
            self.outbox.reached(batch.position, skip=self._taken.reached(self._skip))  # it may cut its batches anew
        await self.outbox.send()

    async def _feed(self, samples: Sequence[Sample], *, has_more: bool) -> None:
        """Unit by unit. What will stand behind the last position is counted before a record can tell of it; when the
        next position comes right behind (`has_more` is false) there is no such record."""
        begin = 0
        for index, sample in enumerate(samples, 1):
            if self.outbox.feed(sample):
                self._count(samples[begin:index])
                begin = index
                await self.outbox.send()
        if has_more:
            self._count(samples[begin:])

    def _count(self, samples: Sequence[Sample]) -> None:
        if self.outbox.is_rewindable:
            self._taken.fed(samples)

    def _feed_piece(self, piece: Block) -> bool:
        if self.outbox.is_rewindable:
            self._taken.fed_block(piece)
        return self.outbox.feed_block(piece)

    def _not_stored(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """What the source gives again and is stored is left out: the first ones, or those that are told apart."""
        if self._skip and samples:
            skipped = min(self._skip, len(samples))
            self._skip -= skipped
            self._taken.skipped(samples[:skipped])
            return samples[skipped:]
        return self._taken.without_stored(samples) if self._taken.is_picking else samples

    def _without_skipped(self, block: Block) -> Block:
        if self._skip:
            count = min(self._skip, len(block))
            self._skip -= count
            self._taken.skipped_of(block, count)
        else:
            count = self._taken.stored_of(block) if self._taken.is_picking else 0
        if not count:
            return block
        quality = None if block.quality is None else block.quality[count:]
        return Block(block.tag, block.source_time_ns[count:], block.values[count:], quality)

    async def _acknowledge(self, session: Any) -> None:
        """Tell the source what is stored, newest only."""
        while True:
            await self._ack(session, await self.outbox.next_stored())

    async def _acknowledge_last(self, session: Any) -> None:
        """The session ends in peace: what is sent may still be acknowledged."""
        await self.outbox.send(flush=True)
        await self.outbox.drained()
        settled = self.outbox.take_stored()
        if settled is not None:
            await self._ack(session, settled)

    async def _ack(self, session: Any, settled: Settled) -> None:
        deadline = asyncio.timeout(ACK_TIMEOUT_S)
        try:
            async with deadline:
                await session.ack(settled.position)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise Unreachable("no answer to an ack", where=self.plan.name, expected=f"{ACK_TIMEOUT_S:g}s") from error


class _Finished(Exception):
    """The session ends in peace."""


def _poll_groups(tags: Sequence[Tag]) -> list[tuple[float, list[Tag]]]:
    groups: dict[float, list[Tag]] = {}
    for tag in tags:
        groups.setdefault(max(POLL_INTERVAL_S_MIN, tag.sampling_interval_s), []).append(tag)
    return sorted(groups.items())


def _pieces(block: Block) -> Sequence[Block]:
    rows = LIST_ROWS_MAX if isinstance(block.values, list | tuple) else BLOCK_ROWS_MAX
    if len(block) <= rows or len(block.values) != len(block):
        return (block,)
    return [
        Block(
            block.tag, block.source_time_ns[i : i + rows], block.values[i : i + rows],
            None if block.quality is None else block.quality[i : i + rows],
        )
        for i in range(0, len(block), rows)
    ]  # fmt: skip


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    """The error that decides: one that stops before a bug, a bug before a broken link."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [errors]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            found.append(error)
    return min(found, key=_rank)


def _rank(error: BaseException) -> int:
    if not isinstance(error, PlantError):
        return 1
    return 3 if isinstance(error, Unreachable) else 2 if isinstance(error, ProtocolViolation) else 0


def _fatal(error: BaseException) -> FencedError:
    """What the store says no to for good, as the error that stops a connector."""
    code = error.code if isinstance(error, PlantError) else None
    fatal = FencedError("the store refuses this connector", got=str(error), code=code)
    fatal.__cause__ = error
    return fatal
