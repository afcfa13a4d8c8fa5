"""Flows on the in-memory bus: every input counts once, whatever is killed when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest

from millstream.bus import MemoryPublisher, MemoryReader, MemoryStream
from millstream.flow import (
    Emit,
    Event,
    Flow,
    FlowRunner,
    Input,
    Rejected,
    SetTimer,
    StreamFacts,
    TimePolicy,
    Wiring,
)
from millstream.kernel import SystemClock
from millstream.protocols.ledger import is_ledger_subject
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import ConnectorTools, Control, Message, Stored

SECOND = 1_000_000_000
T0 = 1_750_000_000 * SECOND


class Count(msgspec.Struct):
    parts: int = 0
    last: bool = False


def count(state: Count, event: Event) -> tuple[Count, Sequence[Any]]:
    """Rising edges of a light barrier."""
    if event.is_timer:
        return state, [Emit(f"{event.key}:parts_last", state.parts, event.time_ns, kind="kpi")]
    if event.value == "boom":
        raise ValueError("no number")
    is_part = bool(event.value) and not state.last
    state = Count(state.parts + is_part, bool(event.value))
    timers = [SetTimer("report", event.time_ns - event.time_ns % (10 * SECOND) + 10 * SECOND)]
    return state, [Emit(f"{event.key}:parts", state.parts, event.time_ns), *timers] if is_part else timers


FLOW = Flow(
    name="parts", inputs=(Input("acme/**:barrier"),), step=count, initial=Count, state_type=Count,
    outputs=("count", "kpi"), time=TimePolicy(idle_ns=None),
)  # fmt: skip


class Killed(Exception):
    """The process ends here."""


class TornPublisher(MemoryPublisher):
    """Dies in the middle of a commit: a prefix of the unit, without its records, is in the stream."""

    def __init__(self, stream: MemoryStream, *, ledger_subject: str, after: int, rng: random.Random) -> None:
        super().__init__(stream, ledger_subject=ledger_subject)
        self._left, self._rng, self._into = after, rng, stream

    async def submit(self, messages: Sequence[Message], control: Control | None = None) -> asyncio.Future[Stored]:
        if self._left == 0:
            torn = MemoryPublisher(self._into)
            await torn.submit(messages[: self._rng.randint(0, len(messages))])
            raise Killed
        self._left -= 1
        return await super().submit(messages, control)


class Bench:
    """Streams of one node, and a flow on them."""

    def __init__(self, flow: Flow[Any] = FLOW, partitions: int = 1) -> None:
        self.flow, self.partitions = flow, partitions
        self.source, self.output = MemoryStream("IN"), MemoryStream("OUT")
        self.rejected: list[Rejected] = []
        self.rng = random.Random(7)
        self.kill_after: int | None = None

    async def facts(self, stream: str) -> StreamFacts:
        found = {"IN": self.source, "OUT": self.output}[stream]
        return StreamFacts(f"made-{stream}", found.first_seq, found.last_seq)

    async def put(self, flow: str, rejected: Rejected) -> None:
        self.rejected.append(rejected)

    def publisher(self, partition: int) -> MemoryPublisher:
        subject = f"uns.v1.acme.site._ledger.edge.{self.flow.name}-{partition}"
        if self.kill_after is not None:
            return TornPublisher(self.output, ledger_subject=subject, after=self.kill_after, rng=self.rng)
        return MemoryPublisher(self.output, ledger_subject=subject)

    def runner(self, partitions: Sequence[int] | None = None) -> FlowRunner:
        wiring = Wiring(
            ["IN"], "OUT", {i: f"uns.v1.acme.site._ledger.edge.{self.flow.name}-{i}.state" for i in range(8)},
            self.publisher, MemoryReader({"IN": self.source, "OUT": self.output}), self, self, SystemClock(),
            ConnectorTools("flow").log,
        )  # fmt: skip
        return FlowRunner(self.flow, partitions or range(self.partitions), self.partitions, wiring)

    def feed(self, tag: str, value: Any, time_ns: int) -> None:
        subject = f"uns.v1.acme.site.{tag.replace(':', '._tag.').replace('/', '.')}"
        self.source.append(subject, encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns))

    @asynccontextmanager
    async def running(self, partitions: Sequence[int] | None = None) -> AsyncIterator[FlowRunner]:
        runner = self.runner(partitions)
        task = asyncio.ensure_future(runner.run())
        try:
            yield runner
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Killed, ExceptionGroup):
                await task

    async def done(self, runner: FlowRunner) -> None:
        async with asyncio.timeout(60):
            while len(runner.running) < len(runner._partitions) or any(
                r.core.position("IN") < self.source.last_seq or not r.is_idle or r.core.is_worth_a_commit
                for r in runner.running.values()
            ):
                await asyncio.sleep(0.001)

    def outputs(self) -> list[tuple[str, Any, str]]:
        """Subject, value, origin."""
        found = []
        for received in self.output.messages:
            if not is_ledger_subject(received.subject) and received.subject != "gone":
                origin = parse_headers(received.headers).values["Ms-Flow-In"]
                found.append((received.subject, decode_sample(received.payload).value, origin))
        return found


def parts(bench: Bench, machine: str = "press") -> list[int]:
    return [v for s, v, _ in bench.outputs() if s == f"uns.v1.acme.site.{machine}._count.parts"]


async def test_every_rising_edge_counts_once() -> None:
    bench = Bench()
    for i in range(10):
        bench.feed("press:barrier", i % 2 == 1, T0 + i * SECOND // 10)
    async with bench.running() as runner:
        await bench.done(runner)
    assert parts(bench) == [1, 2, 3, 4, 5]


async def test_a_restart_goes_on_where_the_last_commit_stands() -> None:
    bench = Bench()
    for i in range(7):
        bench.feed("press:barrier", i % 2 == 1, T0 + i)
    async with bench.running() as runner:
        await bench.done(runner)
    for i in range(7, 20):
        bench.feed("press:barrier", i % 2 == 1, T0 + i)
    async with bench.running() as runner:
        await bench.done(runner)
        assert runner.running[0].core.counts.messages == 13
    assert parts(bench) == list(range(1, 11))


async def test_a_timer_fires_at_its_event_time_before_the_event_that_makes_it_due() -> None:
    bench = Bench()
    for at, value in ((0, True), (1, False), (2, True), (31, False), (32, True)):
        bench.feed("press:barrier", value, T0 + at * SECOND)
    async with bench.running() as runner:
        await bench.done(runner)
    assert [(s.rsplit(".", 1)[1], v) for s, v, _ in bench.outputs()] == [
        ("parts", 1), ("parts", 2), ("parts_last", 2), ("parts", 3)
    ]  # fmt: skip


async def test_a_step_that_raises_quarantines_its_input_and_nothing_else() -> None:
    bench = Bench()
    for i, value in enumerate((True, False, "boom", True)):
        bench.feed("press:barrier", value, T0 + i)
    async with bench.running() as runner:
        await bench.done(runner)
    assert parts(bench) == [1, 2]
    [rejected] = bench.rejected
    assert (rejected.received.seq, rejected.code) == (3, "MS-0702")
    assert "ValueError: no number" in rejected.reason
    assert 'raise ValueError("no number")' in rejected.detail


async def test_a_second_instance_fences_the_first() -> None:
    bench = Bench()
    bench.feed("press:barrier", True, T0)
    async with bench.running() as first:
        await bench.done(first)
        async with bench.running() as second:
            await bench.done(second)
            bench.feed("press:barrier", False, T0 + 1)
            bench.feed("press:barrier", True, T0 + 2)
            await bench.done(second)
    assert parts(bench) == [1, 2]


@pytest.mark.parametrize("seed", range(40))
async def test_torn_commits_and_kills_lose_nothing_and_double_nothing(seed: int) -> None:
    rng = random.Random(seed)
    reference, bench = Bench(partitions=2), Bench(partitions=2)
    inputs = [(f"m{rng.randrange(5)}:barrier", rng.random() < 0.5, T0 + i * SECOND) for i in range(600)]
    for made in (reference, bench):
        for tag, value, at in inputs:
            made.feed(tag, value, at)
    async with reference.running() as runner:
        await reference.done(runner)
    bench.rng = rng
    for _ in range(8):
        bench.kill_after = rng.randint(0, 2)
        async with bench.running() as runner:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await bench.done(runner)
    bench.kill_after = None
    async with bench.running() as runner:
        await bench.done(runner)
    assert sorted(bench.outputs()) == sorted(reference.outputs())
    by_origin = [origin for _, _, origin in bench.outputs()]
    assert len(by_origin) == len(set(by_origin))


async def test_old_state_records_are_not_needed_once_the_keys_were_written_anew() -> None:
    bench = Bench()
    for i in range(6000):
        bench.feed(f"m{i % 50}:barrier", i // 50 % 2 == 0, T0 + i * SECOND)
        if i % 100 == 99:
            async with bench.running() as runner:
                await bench.done(runner)
                restore_seq = runner.running[0].core.restore_seq
    assert restore_seq > 1
    totals = {f"m{i}": max(parts(bench, f"m{i}")) for i in range(50)}
    needless = [r for r in bench.output.messages if r.subject.endswith(".state") and r.seq < restore_seq]
    assert needless
    for received in needless:
        bench.output.messages[received.seq - 1] = received._replace(subject="gone", payload=b"")
    for i in range(6000, 6100):
        bench.feed(f"m{i % 50}:barrier", i // 50 % 2 == 0, T0 + i * SECOND)
    async with bench.running() as runner:
        await bench.done(runner)
    assert {f"m{i}": max(parts(bench, f"m{i}")) for i in range(50)} == {m: n + 1 for m, n in totals.items()}
