"""Flows on the in-memory bus, for the tests: streams of a node, and a process that dies in the middle of a commit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

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
from millstream.flow._store import HOT_BYTES_MAX
from millstream.kernel import SystemClock
from millstream.protocols.contract import ContractBook
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

    async def submit(
        self, messages: Sequence[Message], control: Control | None = None, *, patience_s: float = 0.0
    ) -> asyncio.Future[Stored]:
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
        self.contracts: Callable[[], ContractBook] | None = None
        self.muted: dict[str, int] | None = None
        self.scratch: Path | None = None
        self.hot_bytes = HOT_BYTES_MAX
        self.task: asyncio.Future[None]

    @property
    def mark(self) -> str:
        """Each version has records of its own."""
        return f"{self.flow.name}-{self.flow.version}"

    async def facts(self, stream: str) -> StreamFacts:
        found = {"IN": self.source, "OUT": self.output}[stream]
        return StreamFacts(f"made-{stream}", found.first_seq, found.last_seq)

    async def put(self, flow: str, rejected: Sequence[Rejected]) -> int:
        self.rejected += rejected
        return len(self.rejected)

    async def position(self) -> int:
        return len(self.rejected)

    async def kept_since(self, position: int) -> dict[str, str]:
        return {each.id: each.contract for each in self.rejected[position:]}

    def publisher(self, partition: int) -> MemoryPublisher:
        subject = f"uns.v1.acme.site._ledger.edge.{self.mark}-{partition}"
        if self.kill_after is not None:
            return TornPublisher(self.output, ledger_subject=subject, after=self.kill_after, rng=self.rng)
        return MemoryPublisher(self.output, ledger_subject=subject)

    def runner(self, partitions: Sequence[int] | None = None) -> FlowRunner:
        wiring = Wiring(
            ["IN"], "OUT", {i: f"uns.v1.acme.site._ledger.edge.{self.mark}-{i}.state" for i in range(8)},
            self.publisher, MemoryReader({"IN": self.source, "OUT": self.output}), self, self, SystemClock(),
            ConnectorTools("flow").log, contracts=self.contracts, muted=self.muted,
            scratch=self.scratch, hot_bytes=self.hot_bytes,
        )  # fmt: skip
        return FlowRunner(self.flow, partitions or range(self.partitions), self.partitions, wiring)

    def feed(self, tag: str, value: Any, time_ns: int) -> None:
        subject = f"uns.v1.acme.site.{tag.replace(':', '._tag.').replace('/', '.')}"
        self.source.append(subject, encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns))

    @asynccontextmanager
    async def running(self, partitions: Sequence[int] | None = None) -> AsyncIterator[FlowRunner]:
        runner = self.runner(partitions)
        self.task = task = asyncio.ensure_future(runner.run())
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
