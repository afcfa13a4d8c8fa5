"""One instance of a flow: finds its share of the partitions, runs them, says how they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Any

from millstream.bus import START_PATIENCE_S, ContractLog, RawConnection, StreamApi
from millstream.config import FlowEntry
from millstream.flow import Flow, FlowRunner, told_of
from millstream.kernel import Backoff, Clock, FencedError, NotFoundError, PlantError
from millstream.model import AssetPath
from millstream.sdk import Log
from millstream.worker._beats import (
    BEAT_INTERVAL_S,
    LISTEN_S,
    Beat,
    BeatListener,
    ask_subject,
    send_beat,
    silence_ns,
)
from millstream.worker._control import ControlStore, FlowControl, declared_control, needed_states, state_lost
from millstream.worker._deadletters import FlowDeadLetters
from millstream.worker._names import is_born, state_subject
from millstream.worker._needs import is_state_lost
from millstream.worker._plan import LiveView, partitions_to_take
from millstream.worker._spec import WorkerSpec
from millstream.worker._start import start_seqs
from millstream.worker._takeover import end_version
from millstream.worker._wiring import bus_wiring

STATE_SHARE = 0.4  # of the memory that a worker may have; the rest is for what is under way, and for the steps
LOOK_INTERVAL_S = 1.0  # at the contracts
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Around:
    """What an instance is given: clock, log, where reports go."""

    clock: Clock
    log: Log
    report: Report


@dataclass(slots=True)
class _Running:
    """The partitions that run now, as one task."""

    version: int
    partitions: tuple[int, ...]
    runner: FlowRunner
    task: asyncio.Task[None]


class Instance:
    """Runs until `stop`. Raises ConfigError, DecodeError, what the flow's streams refuse for good."""

    def __init__(self, spec: WorkerSpec, entry: FlowEntry, flow: Flow[Any], around: Around) -> None:
        self._spec, self._entry, self._flow, self._around = spec, entry, flow, around
        self._control = FlowControl()
        self._view = LiveView(silence_ns(entry.step_timeout))
        self._running: _Running | None = None
        self._wake = asyncio.Event()
        self._beats = 0
        self._backoff = Backoff(BEAT_INTERVAL_S, 10.0)
        self._not_before_ns = 0
        self._connection: RawConnection
        self._store: ControlStore
        self._contracts: ContractLog

    async def run(self, stop: asyncio.Event) -> None:
        """See the class."""
        spec = self._spec
        async with AsyncExitStack() as stack:
            self._connection = await stack.enter_async_context(
                RawConnection(
                    spec.url, credentials=spec.credentials, name=f"flow {self._entry.name}",
                    patience_s=START_PATIENCE_S,
                )
            )  # fmt: skip
            store = ControlStore(self._connection, patience_s=START_PATIENCE_S)
            self._control = declared_control(self._entry, (await store.get(self._entry.name))[0])
            listener = BeatListener(self._connection, self._entry.name, self._hear)
            stack.callback(listener.close)
            sid = self._connection.subscribe(ask_subject(self._entry.name), lambda _: self._beat())
            stack.callback(self._connection.unsubscribe, sid)
            self._contracts = ContractLog(StreamApi(self._connection, patience_s=START_PATIENCE_S))
            await self._look_at_contracts()
            reading = asyncio.get_running_loop().create_task(self._follow_contracts())
            stack.push_async_callback(_end, reading)
            listener.ask()
            await self._around.clock.sleep(LISTEN_S)
            self._store = store
            following = asyncio.get_running_loop().create_task(self._follow(store))
            stack.push_async_callback(_end, following)
            stack.push_async_callback(self._leave)
            stopping = asyncio.get_running_loop().create_task(stop.wait())
            stack.push_async_callback(_end, stopping)
            while not stopping.done():
                if following.done():
                    following.result()
                await self._turn()
                self._beat()
                await self._rest(stopping)

    async def _rest(self, stopping: asyncio.Task[Any]) -> None:
        waking = asyncio.get_running_loop().create_task(self._wake.wait())
        waits: set[asyncio.Task[Any]] = {stopping, waking}
        if self._running is not None:
            waits.add(self._running.task)
        try:
            await asyncio.wait(waits, timeout=BEAT_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(waking)
        self._wake.clear()

    # -- what is to be run --------------------------------------------------------------------------------------------

    def _hear(self, beat: Beat) -> None:
        if beat.instance == self._spec.instance:
            return
        if beat.is_gone:
            self._view.gone(beat.instance)
            self._wake.set()
            return
        now_ns = self._around.clock.monotonic_ns()
        self._view.heard(beat.instance, beat.number, beat.version, beat.held, now_ns)

    async def _follow(self, store: ControlStore) -> None:
        async with aclosing(store.follow(self._entry.name)) as decisions:
            async for control in decisions:
                self._control = declared_control(self._entry, control)
                self._wake.set()

    async def _look_at_contracts(self) -> None:
        with contextlib.suppress(NotFoundError):  # a node that knows no contracts
            if await self._contracts.look():
                book = self._contracts.book
                self._around.log.info("contracts", enforced=len(book.rules), revision=book.revision)

    async def _follow_contracts(self) -> None:
        while True:
            await self._around.clock.sleep(LOOK_INTERVAL_S)
            with contextlib.suppress(PlantError):  # the server restarts: asked again
                await self._look_at_contracts()

    async def _turn(self) -> None:
        """Compare what runs with what should, and change it."""
        clock, running = self._around.clock, self._running
        if running is not None and running.task.done():
            await self._ended(running)
            running = self._running
        control = self._control
        mine = running.partitions if running is not None and running.version == control.version else ()
        wanted: Sequence[int] = ()
        if not control.is_paused and clock.monotonic_ns() >= self._not_before_ns:
            live = self._view.live(clock.monotonic_ns())
            wanted = partitions_to_take(self._spec.instance, control.version, control.partitions, live, mine)
        if running is not None and (running.version != control.version or tuple(wanted) != running.partitions):
            await self._end_running()
            running = None
        if running is None and wanted:
            await self._begin(control, tuple(wanted))

    async def _begin(self, control: FlowControl, partitions: tuple[int, ...]) -> None:
        spec, around = self._spec, self._around
        flow = replace(self._flow, version=control.version)

        async def note() -> None:
            await self._store.note_spoken(flow.name, control.version, partitions, flow.filters())

        try:
            is_lost = await self._is_state_lost(control, partitions)
            muted: Mapping[str, int] = {}
            if not is_lost and control.before is not None and not await self._is_born(control):
                muted = await end_version(
                    self._connection, spec, flow.name, control.before, control.version, around.clock
                )
            starts = await start_seqs(StreamApi(self._connection), spec.inputs, control.start, flow.filters())
        except (PlantError, FencedError) as error:
            around.log.warning("flow cannot begin", flow=flow.name, error=str(error))
            self._not_before_ns = around.clock.monotonic_ns() + int(self._backoff.next_s() * 1e9)
            return
        if is_lost:
            raise state_lost(flow.name, control.version)
        letters = FlowDeadLetters(self._connection, spec.deadletters, flow.name, around.clock)
        wiring = bus_wiring(
            spec, flow, control.partitions, self._connection, letters, clock=around.clock, log=around.log,
            start_seqs=starts, muted=muted, contracts=lambda: self._contracts.book,
            hot_bytes=int(self._entry.max_memory * STATE_SHARE) // len(partitions), on_restored=note,
        )  # fmt: skip
        runner = FlowRunner(flow, partitions, control.partitions, wiring)
        task = asyncio.get_running_loop().create_task(runner.run(), name=f"flow {flow.name}")
        self._running = _Running(control.version, partitions, runner, task)
        around.log.info("flow runs", flow=flow.name, version=flow.version, partitions=list(partitions))

    async def _is_state_lost(self, control: FlowControl, partitions: tuple[int, ...]) -> bool:
        """A partition that has spoken must find its state: without it, it would say everything again."""
        spec, name = self._spec, self._flow.name
        subjects = [
            state_subject(AssetPath.parse(spec.place), spec.node, name, version, number)
            for version, number in needed_states(control)
            if version != control.version or number in partitions
        ]
        return await is_state_lost(StreamApi(self._connection), spec.output, subjects)

    async def _is_born(self, control: FlowControl) -> bool:
        """Then it knows by its own records what the version before it has said, whose records may be gone."""
        which = (self._flow.name, control.version, control.partitions)
        api, spec = StreamApi(self._connection), self._spec
        return await is_born(api, spec.output, AssetPath.parse(spec.place), spec.node, which)

    async def _ended(self, running: _Running) -> None:
        """The runner ended by itself: fenced, or something is wrong."""
        self._running = None
        error = running.task.exception()
        assert error is not None
        if not _is_fenced(error):
            raise error
        self._around.log.warning("fenced: another instance has a partition", flow=self._entry.name, error=str(error))
        self._not_before_ns = self._around.clock.monotonic_ns() + int(self._backoff.next_s() * 1e9)

    async def _end_running(self) -> None:
        if self._running is not None:
            await _end(self._running.task)
            self._running = None  # not before: a beat meanwhile must not say that nothing runs

    async def _leave(self) -> None:
        await self._end_running()
        self._beat(is_gone=True)
        with contextlib.suppress(PlantError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._connection.drained()

    # -- what others see ----------------------------------------------------------------------------------------------

    def _beat(self, *, is_gone: bool = False) -> None:
        running = self._running
        self._beats += 1
        report = {
            "instance": self._spec.instance,
            "version": self._control.version,
            "is_paused": self._control.is_paused,
            "filters": self._flow.filters(),
            "inputs": self._spec.inputs,
            "partitions": [] if running is None else partition_reports(running.runner),
        }
        if self._flow.commands:
            report["commands"] = told_of(self._flow)
        if running is not None and any(each.commits > 1 for each in running.runner.running.values()):
            self._backoff.reset()
        held = list(running.partitions) if running is not None else []
        beat = Beat(
            instance=self._spec.instance, number=self._beats, version=self._control.version, held=held,
            is_gone=is_gone, report=report,
        )  # fmt: skip
        send_beat(self._connection, self._entry.name, beat)
        self._around.report(report)


def _is_fenced(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(FencedError)[1] is None
    return isinstance(error, FencedError)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel and wait; how it ended does not matter any more."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


def partition_reports(runner: FlowRunner) -> list[dict[str, Any]]:
    """How the partitions are."""
    return [
        {
            "partition": number,
            "offsets": {stream: offset.seq for stream, offset in each.core.offsets.items()},
            "read_out": sorted(runner.read_out) if each.is_idle else [],
            "restore_seq": each.core.restore_seq,
            "keys": each.core.keys_count,
            "commits": each.commits,
            "is_muted": each.core.is_muted,
            "broken_contract": each.core.guard.newest,
            **{name: getattr(each.core.counts, name) for name in each.core.counts.__slots__},
        }
        for number, each in runner.running.items()
    ]
