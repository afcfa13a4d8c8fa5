"""The shell around the cores: reads the inputs, commits units, restores. No decision about data is made here.

One `FlowRunner` has some partitions of one flow. It reads each input stream once, from the lowest position of its
partitions on, and hands the messages to all of them. A partition commits one unit at a time: outputs, then the state
record with the position, in one atomic batch of the output stream. What arrives meanwhile forms the next unit, so the
batches grow with the disk's latency. A second instance that takes a partition over fences the first one: its next
commit raises FencedError, and it stops.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from millstream.flow._codec import FLOW_HEADER, decode_commit, encode_commit
from millstream.flow._core import FlowCore
from millstream.flow._model import SECOND_NS, Flow
from millstream.flow._places import origin_of
from millstream.flow._ports import Origins, Quarantine, Streams
from millstream.flow._sources import ProcessFullError
from millstream.flow._store import HOT_BYTES_MAX, KeyStore
from millstream.kernel import Clock, FencedError, PlantError, Unreachable
from millstream.protocols.contract import ContractBook
from millstream.sdk import Control, Log, Publisher, Reader, Received, Stored

INBOX_BATCHES_MAX = 4  # of one partition; then its readers wait
READ_BATCH_MAX = 1000
TICK_INTERVAL_S = 0.25
POSITION_INTERVAL_NS = 1 * SECOND_NS  # a position that moved without outputs is written down that often
CAUGHT_UP_NS = 2 * SECOND_NS  # an input whose newest message is younger is not behind
TAIL_WAIT_S = 0.2
LOOK_INTERVAL_S = 1.0  # at the output stream
OLD_FILL = 0.2  # of its bound; from here on nothing old may hold it
ANSWER_S = 5.0  # how long an end waits for the answer to what was sent before it
RESTORE_SILENCES_MAX = 300  # a minute without a record that must be there


class OpenPublisher(Protocol):
    """Opens the publisher of one partition: as a scope, fenced by its own record."""

    def __call__(self, partition: int) -> Any:
        """An async context manager that gives a Publisher."""
        ...


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where a flow is run. `inputs` are the streams to read, `output` the stream to write; `control_subject` names the
    state record of a partition. About `hot_bytes` of its keys stay in memory, the others go to `scratch`. `start_seqs`
    says where a flow that is new begins in a stream (default: 1), `contracts` gives those that outputs have to keep
    now. `on_restored` is awaited once all partitions have a record and their state, before anything is read."""

    inputs: Sequence[str]
    output: str
    control_subject: Mapping[int, str]
    open_publisher: OpenPublisher
    reader: Reader
    streams: Streams
    quarantine: Quarantine
    clock: Clock
    log: Log
    scratch: Path | None = None
    hot_bytes: int = HOT_BYTES_MAX
    start_seqs: Mapping[str, int] | None = None
    muted: Mapping[str, int] | None = None
    origins: Origins | None = None
    contracts: Callable[[], ContractBook] | None = None
    on_restored: Callable[[], Awaitable[None]] | None = None


class PartitionRunner:
    """One partition: its core, its publisher, its inbox."""

    def __init__(self, flow: Flow[Any], partition: int, partitions: int, wiring: Wiring, publisher: Publisher) -> None:
        self.partition = partition
        self._flow = flow
        self._partitions = partitions
        self._wiring = wiring
        self._publisher = publisher
        self._inbox: asyncio.Queue[tuple[str, Sequence[Received], int]] = asyncio.Queue(INBOX_BATCHES_MAX)
        self._in_flight: asyncio.Future[Stored] | None = None
        self._unit_stream: str | None = None
        self._moved_ns = 0
        self._letters_seq = 0
        self.commits = 0
        self.core: FlowCore[Any]
        self._store: KeyStore

    async def open(self, created: Mapping[str, str]) -> None:
        """Rebuild the state from the output stream. Raises DecodeError, NotFoundError, Unreachable, FencedError."""
        wiring, flow = self._wiring, self._flow
        name = f"{flow.name}-{flow.version}-{self.partition}.scratch"
        scratch = wiring.scratch / name if wiring.scratch is not None else None
        self._store = KeyStore(scratch, bytes_max=wiring.hot_bytes)
        self.core = FlowCore(
            flow, self._store, partition=self.partition, partitions=self._partitions, created=dict(created),
            output=wiring.output,
        )  # fmt: skip
        subject = wiring.control_subject[self.partition]
        newest = await self._publisher.last_control(subject)
        if newest is not None and (successor := decode_commit(newest).successor):
            raise FencedError("a newer version of the flow has taken over", where=subject, got=f"version {successor}")
        if newest is None:
            await self._be_born()
            return
        seq = await self._read_back(subject, newest)
        self._letters_seq = decode_commit(newest).letters_seq
        self.core.guard.kept = await wiring.quarantine.kept_since(self._letters_seq)
        first = self.core.begin(await self._tail(seq))
        if first is not None:
            await self._recover(first)

    async def _be_born(self) -> None:
        """The first record comes before any output, so that a torn commit always stands behind a record."""
        self.core.mute(self._wiring.muted or {})
        for stream, start_seq in (self._wiring.start_seqs or {}).items():
            self.core.start_at(stream, start_seq)
        self._letters_seq = await self._wiring.quarantine.position()
        await self._submit()
        await self._settle()

    async def _read_back(self, subject: str, newest: bytes) -> int:
        """Give the core all records that it needs; the sequence of the newest."""
        start_seq = max(1, decode_commit(newest).restore_seq)
        reading = self._wiring.reader.read(
            self._wiring.output, start_seq=start_seq, filter_subjects=[subject], wait_s=TAIL_WAIT_S
        )
        silences = 0
        async with aclosing(reading) as batches:
            async for batch in batches:
                # An instance that is being replaced may write more meanwhile: its fence shows at the first commit.
                end = next((i + 1 for i, r in enumerate(batch) if r.payload == newest), None)
                self.core.restore((r.seq, decode_commit(r.payload)) for r in batch[:end])
                if end is not None:
                    return batch[end - 1].seq
                silences = 0 if batch else silences + 1
                if silences > RESTORE_SILENCES_MAX:
                    break
        raise PlantError("the state records end early", where=subject)

    async def _tail(self, after_seq: int) -> list[Received]:
        """Own outputs behind the newest record."""
        last_seq = (await self._wiring.streams.facts(self._wiring.output)).last_seq
        mark = f"{FLOW_HEADER}: {self._flow.name}/{self._flow.version}/{self.partition}\r\n".encode()
        found: list[Received] = []
        if last_seq <= after_seq:
            return found
        reading = self._wiring.reader.read(self._wiring.output, start_seq=after_seq + 1, wait_s=TAIL_WAIT_S)
        async with aclosing(reading) as batches:
            async for batch in batches:
                found += [r for r in batch if r.headers and mark in r.headers]
                if batch and batch[-1].seq >= last_seq:
                    break
                if not batch and (await self._wiring.streams.facts(self._wiring.output)).last_seq <= last_seq:
                    break  # the newest of them were removed meanwhile
        return found

    def close(self) -> None:
        """Throw the scratch file away."""
        self._store.close()

    # -- data ---------------------------------------------------------------------------------------------------------

    async def put(self, stream: str, batch: Sequence[Received]) -> None:
        """Hand messages over; waits while the inbox is full. An empty batch: look whether something is to be done."""
        await self._inbox.put((stream, batch, 0))

    async def tick(self, until_ns: int) -> None:
        """Let time pass for keys that are silent, up to `until_ns`."""
        await self._inbox.put(("tick", (), until_ns))

    async def renew(self) -> None:
        """Write the state anew, so that the output stream can forget what stands before it."""
        await self._inbox.put(("renew", (), 0))

    @property
    def is_idle(self) -> bool:
        """Nothing waits to be taken."""
        return self._inbox.empty()

    @property
    def unanswered(self) -> asyncio.Future[Stored] | None:
        """The unit that was sent last, until it is settled."""
        return self._in_flight

    async def run(self) -> None:
        """Take and commit until cancelled. Raises FencedError when another instance has the partition."""
        self._moved_ns = self._wiring.clock.monotonic_ns()
        while True:
            stream, batch, until_ns = await self._inbox.get()
            try:
                if batch:
                    await self._take(stream, batch)
                elif until_ns:
                    await self._tick(until_ns)
            except ProcessFullError:
                await self.finish()  # the next process goes on right behind it
                raise
            if self.core.is_muted:
                await self._take_over()
            if stream == "renew":
                self.core.begin_cycle()
            if self._inbox.empty():
                await self._commit()
                if self.core.is_cycling and self._inbox.empty():
                    self._inbox.put_nowait(("", (), 0))

    async def _take_over(self) -> None:
        """Speak, once everything that an older version has said is behind."""
        until_ns = self.core.settling_ns()
        if until_ns is not None:
            await self._tick(until_ns)
            self.core.mute({})

    async def _recover(self, first: str) -> None:
        """Finish the unit that was torn, from the same input that it was made of, before anything else is taken."""
        core = self.core
        self._enforce()
        if first.startswith("tick:"):
            core.tick(int(first.removeprefix("tick:")))
        else:
            for stream in [first] if self._wiring.origins is None else self._wiring.inputs:
                await self._make_again(stream)
        await self.finish()
        if core.torn_count:
            self._wiring.log.warning("outputs of a torn commit could not be made again", count=core.torn_count)

    async def _make_again(self, stream: str) -> None:
        reading = self._wiring.reader.read(
            stream, start_seq=await self.resume_seq(stream), filter_subjects=self._flow.filters(), wait_s=TAIL_WAIT_S
        )
        async with aclosing(reading) as batches:
            async for batch in batches:
                if batch:
                    await self._take(stream, batch)
                if not batch or not self.core.torn_count:
                    break

    async def resume_seq(self, stream: str) -> int:
        """From where an input stream has to be read. Raises Unreachable."""
        origins, core = self._wiring.origins, self.core
        if origins is None or not core.marks.get(stream):
            return core.position(stream) + 1
        marks = core.marks[stream]
        while marks and await origins.stored_us(stream, marks[-1].seq) not in (marks[-1].time_us, 0):
            marks.pop()  # it was taken back, and stands elsewhere now
        return marks[-1].seq + 1 if marks else 1

    async def _take(self, stream: str, batch: Sequence[Received]) -> None:
        if self._unit_stream not in (None, stream) and self.core.is_worth_a_commit:
            await self._commit()
        self._unit_stream = stream
        core = self.core
        self._enforce()
        if self._wiring.origins is not None:
            await self._take_by_origin(stream, batch)
            return
        for received in batch:
            while not core.feed(stream, received):
                await self._commit()
            if core.is_full:
                await self._commit()

    async def _take_by_origin(self, stream: str, batch: Sequence[Received]) -> None:
        core = self.core
        for received in batch:
            origin, message = origin_of(stream, received)
            while not core.feed(origin, message):
                await self._commit()
            if core.is_full:
                core.read_up_to(stream, received)
                await self._commit()
        core.read_up_to(stream, batch[-1])

    async def _tick(self, now_ns: int) -> None:
        """Fire what is due; a unit of its own."""
        core = self.core
        self._enforce()
        while core.timer_due(now_ns):
            if core.is_worth_a_commit:
                await self._commit()
            core.tick(now_ns)
            await self._commit()

    def _enforce(self) -> None:
        """Outputs have to keep the contracts as they are now. What was decided stays as it is."""
        if self._wiring.contracts is not None:
            self.core.guard.book = self._wiring.contracts()

    async def _commit(self) -> None:
        """Settle the unit in flight, then send what is pending. Raises FencedError."""
        await self._settle()
        core = self.core
        now_ns = self._wiring.clock.monotonic_ns()
        is_due = core.has_moved and now_ns - self._moved_ns > POSITION_INTERVAL_NS
        if not core.is_worth_a_commit and not is_due and not core.is_cycling:
            return
        await self._submit()

    async def _submit(self) -> None:
        unit = self.core.take()
        if unit.rejected:
            self._letters_seq = await self._wiring.quarantine.put(self._flow.name, unit.rejected)
        commit = msgspec.structs.replace(unit.commit, letters_seq=self._letters_seq)
        control = Control(self._wiring.control_subject[self.partition], encode_commit(commit))
        self._in_flight = await self._publisher.submit(unit.messages, control)
        self._in_flight.add_done_callback(_look_at)
        self._unit_stream = None
        self._moved_ns = self._wiring.clock.monotonic_ns()
        self.commits += 1

    async def _settle(self) -> None:
        if self._in_flight is not None:
            stored = await self._in_flight
            self._in_flight = None
            self.core.committed(stored.last_seq - 1)  # the publisher's own record stands behind the control

    async def finish(self) -> None:
        """Commit what is pending, and wait until it is stored."""
        await self._commit()
        await self._settle()


def _look_at(stored: asyncio.Future[Stored]) -> None:
    """A failure is raised where the next unit is settled; here it is only marked as seen."""
    if not stored.cancelled():
        stored.exception()


class FlowRunner:
    """Some partitions of one flow. `run` until cancelled; raises what ends it for good."""

    def __init__(self, flow: Flow[Any], partitions: Sequence[int], partitions_count: int, wiring: Wiring) -> None:
        self._flow = flow
        self._partitions = tuple(partitions)
        self._partitions_count = partitions_count
        self._wiring = wiring
        self._arrived: dict[str, tuple[int, bool]] = {}
        self.running: dict[int, PartitionRunner] = {}

    @property
    def read_out(self) -> frozenset[str]:
        """Input streams that had nothing more for this flow when they were looked at last, up to a second ago. A
        position says less: what stands behind it may all be of others."""
        return frozenset(stream for stream, (_, is_idle) in self._arrived.items() if is_idle)

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Restore, then read and commit. Raises FencedError, DecodeError, NotFoundError, Unreachable."""
        wiring = self._wiring
        created = {name: (await wiring.streams.facts(name)).created for name in wiring.inputs}
        async with AsyncExitStack() as stack:
            for number in self._partitions:
                publisher = await stack.enter_async_context(wiring.open_publisher(number))
                runner = PartitionRunner(self._flow, number, self._partitions_count, wiring, publisher)
                await runner.open(created)
                stack.callback(runner.close)
                self.running[number] = runner
            if wiring.on_restored is not None:
                await wiring.on_restored()
            if ready is not None:
                ready.set()
            try:
                await self._run_all()
            except* FencedError as group:
                raise group.exceptions[0] from None
            finally:
                await self._answered()

    async def _answered(self) -> None:
        """Whoever has ended a runner (paused it, say) sees all that it will ever have said, if the store answers."""
        sent = [answer for runner in self.running.values() if (answer := runner.unanswered) is not None]
        if sent:
            await asyncio.wait(sent, timeout=ANSWER_S)

    async def _run_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for runner in self.running.values():
                group.create_task(runner.run(), name=f"{self._flow.name}/{runner.partition}")
            for stream in self._wiring.inputs:
                group.create_task(self._read(stream), name=f"{self._flow.name} reads {stream}")
            group.create_task(self._keep_young(), name=f"{self._flow.name} keeps its state young")
            if self._flow.time.idle_ns is not None:
                group.create_task(self._tick(self._flow.time.idle_ns), name=f"{self._flow.name} ticks")

    async def _keep_young(self) -> None:
        """A partition that says little must not keep the stream, which all flows share, from forgetting."""
        while True:
            await self._wiring.clock.sleep(LOOK_INTERVAL_S)
            with contextlib.suppress(Unreachable):
                facts = await self._wiring.streams.facts(self._wiring.output)
                middle = (facts.first_seq + facts.last_seq) // 2
                for runner in self.running.values():
                    core = runner.core
                    if facts.fill > OLD_FILL and core.restore_seq < middle and not core.is_cycling and runner.is_idle:
                        await runner.renew()

    async def _read(self, stream: str) -> None:
        """One input stream, for all partitions."""
        origins = self._wiring.origins
        while True:
            resets = origins.resets() if origins is not None else 0
            try:
                await self._read_on(stream, resets)
            except Unreachable:
                if origins is None:
                    raise
                await self._wiring.clock.sleep(TAIL_WAIT_S)

    async def _read_on(self, stream: str, resets: int) -> None:
        """Until the stream may have lost messages."""
        runners = list(self.running.values())
        start_seq = min([await runner.resume_seq(stream) for runner in runners])
        origins = self._wiring.origins
        reading = self._wiring.reader.read(
            stream, start_seq=start_seq, filter_subjects=self._flow.filters(), batch_max=READ_BATCH_MAX
        )
        async with aclosing(reading) as batches:
            async for batch in batches:
                if origins is not None and origins.resets() != resets:
                    return
                if batch:
                    self._arrived[stream] = (batch[-1].stored_time_ns, False)
                    for runner in runners:
                        await runner.put(stream, batch)
                else:
                    self._arrived[stream] = (self._wiring.clock.now_ns(), True)
                    for runner in runners:
                        if runner.is_idle:
                            await runner.put("", ())

    async def _tick(self, idle_ns: int) -> None:
        """Let time pass for keys that fell silent, but not past what is still to be read."""
        clock = self._wiring.clock
        while True:
            await clock.sleep(TICK_INTERVAL_S)
            now_ns = clock.now_ns()
            behind = [at for at, is_idle in self._arrived.values() if not is_idle and now_ns - at > CAUGHT_UP_NS]
            if len(self._arrived) < len(self._wiring.inputs):
                continue  # nobody knows yet what is there to be read
            until_ns = min([now_ns, *behind]) - idle_ns
            for runner in self.running.values():
                if runner.is_idle and not runner.core.is_muted and runner.core.timer_due(until_ns):
                    await runner.tick(until_ns)
