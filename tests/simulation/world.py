"""A plant in virtual time: a device, an edge with its supervisor and a flow, a hub, and a seed that breaks them.

Everything that decides is the shipped code: connector supervisor, pipeline, outbox, flow core and runner, ledger. The
store, the link and the device are simulated, so that a run of minutes takes milliseconds and a seed repeats it exactly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import msgspec

from millstream.bus import MemoryReader, MemoryStream
from millstream.config import ConnectorEntry, EdgeConfig, EdgeIdentity
from millstream.edge._lifecycle import Lifecycle
from millstream.edge._pipeline import DeadLetter, Pipeline
from millstream.edge._supervisor import ConnectorPlan, Supervisor
from millstream.flow import Emit, Event, Flow, FlowRunner, Input, Rejected, SetTimer, StreamFacts, TimePolicy, Wiring
from millstream.kernel import Backoff, Unreachable
from millstream.model import Sample
from millstream.protocols.ledger import LedgerVerifier, is_ledger_subject, parse_stream_source
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_payload import decode_sample
from millstream.sdk import Batch, ConnectorConfig, ConnectorInfo, Position, Received, Tag
from millstream.sdk.testing import LoopClock
from simulation.store import SimHub, SimPublisher

MACHINES = 3
SECOND = 1_000_000_000
PLACE = "acme/p1"
ENTRY = ConnectorEntry.model_validate(
    {
        "name": "device", "type": "device",
        "tags": [{"name": "barrier", "address": str(i), "path": f"{PLACE}/m{i}"} for i in range(MACHINES)],
    }
)  # fmt: skip
EDGE = EdgeConfig(edge=EdgeIdentity(name="e1", path=PLACE, data_dir="/x"), connectors=(ENTRY,))
MAPPED = EDGE.mapped_tags(ENTRY)


class Count(msgspec.Struct):
    """A light barrier's parts."""

    parts: int = 0
    was_dark: bool = False


def count(state: Count, event: Event) -> tuple[Count, Sequence[Any]]:
    """A part leaves each time the barrier turns dark; the total is told every ten seconds too."""
    if event.is_timer:
        return state, [Emit(f"{event.key}:total", state.parts, event.time_ns, kind="kpi")]
    if event.value is None:  # the link to the device was down: that is no edge
        return state, []
    is_part = bool(event.value) and not state.was_dark
    after = Count(state.parts + is_part, bool(event.value))
    timer = SetTimer("total", event.time_ns - event.time_ns % (10 * SECOND) + 10 * SECOND)
    return after, [Emit(f"{event.key}:parts", after.parts, event.time_ns), timer] if is_part else [timer]


PARTS = Flow(
    name="parts", inputs=(Input("acme/**:barrier"),), step=count, initial=Count, state_type=Count,
    outputs=("count", "kpi"), time=TimePolicy(idle_ns=None), key=lambda address: str(address.tag.asset),
)  # fmt: skip


@dataclass
class Device:
    """Rows that it keeps and can give again from a position on. Breaks as its seed says."""

    rng: random.Random
    rows: list[tuple[int, int, bool]] = field(default_factory=list)  # time, machine, is dark

    def produce(self, time_ns: int) -> None:
        """One row."""
        self.rows.append((time_ns, self.rng.randrange(MACHINES), self.rng.random() < 0.5))


class DeviceSession:
    """Streams from a position on; now and then the link to it drops."""

    def __init__(self, device: Device) -> None:
        self._device = device

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        device = self._device
        at = int(resume) if resume is not None else 0
        while True:
            await asyncio.sleep(device.rng.choice((0.001, 0.01, 0.1)))
            if device.rng.random() < 0.02:
                raise Unreachable("the device's link dropped")
            rows = device.rows[at : at + device.rng.choice((1, 10, 300, 1500))]
            if rows:
                at += len(rows)
                samples = [Sample(tags[machine].key, is_dark, source_time_ns=t) for t, machine, is_dark in rows]
                yield Batch(samples, position=Position(str(at).encode()))

    async def ack(self, up_to: Position) -> None:
        """Nothing is forgotten."""


class DeviceConnector:
    """The connector of the device."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo("device", "for simulation", "none")
    Config: ClassVar[type[ConnectorConfig]] = ConnectorConfig

    def __init__(self, device: Device) -> None:
        self._device = device

    def check_tag(self, tag: Tag) -> None:
        """All are right."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[DeviceSession]:
        if self._device.rng.random() < 0.1:
            raise Unreachable("the device does not answer")
        yield DeviceSession(self._device)


class Quiet:
    """A log and a dead-letter store that keep what may not happen here."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.rejected: list[Rejected] = []

    async def write(self, source: str, letter: DeadLetter) -> None:
        self.letters.append(letter)

    async def write_all(self, source: str, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    async def put(self, flow: str, rejected: Sequence[Rejected]) -> int:
        self.rejected += rejected
        return len(self.rejected)

    async def position(self) -> int:
        return len(self.rejected)

    async def kept_since(self, position: int) -> dict[str, str]:
        return {each.id: each.contract for each in self.rejected[position:]}

    def info(self, event: str, **fields: object) -> None:
        """Drop."""

    warning = error = info


class World:
    """One seed's plant. `run` breaks and repairs it for `span_s` of virtual time, lets it drain, and checks.

    `rows_max` is how much its device says between two faults. Left out, the seed decides: mostly little, since what
    breaks is the order of things and not their number; now and then more than a unit holds.
    """

    def __init__(self, seed: int, rows_max: int | None = None) -> None:
        self.rng = random.Random(seed)
        self.rows_max = rows_max or random.Random(seed + 2).choices((5, 20, 60, 400), (4, 4, 2, 1))[0]
        self.clock = LoopClock()
        self.device = Device(random.Random(seed + 1))
        self.quiet = Quiet()
        self.integrity = MemoryStream("E_e1_I", self.clock)
        self.flows = MemoryStream("E_e1_F", self.clock)
        self.hub = SimHub(self.rng, self.clock)
        self.publishers: list[SimPublisher] = []
        self.edge: asyncio.Task[None] | None = None
        self.worker: asyncio.Task[None] | None = None
        self.sourcing: asyncio.Task[None] | None = None
        self.faults: dict[str, int] = {}
        self.partitions = self.rng.choice((1, 2, 3))
        self._read: list[Received] = []
        self._told: list[tuple[str, tuple[str, Any, int] | None]] = []

    # -- parts that can be killed -------------------------------------------------------------------------------------

    async def run_edge(self) -> None:
        """The edge's process."""
        publisher = SimPublisher(self.integrity, "uns.v1.acme.p1._ledger.e1.integrity", self.rng, self.clock)
        self.publishers = [publisher]
        supervisor = Supervisor(
            ConnectorPlan("device", "device", [m.tag for m in MAPPED], "uns.v1.acme.p1._ledger.e1.integrity.device"),
            DeviceConnector(self.device),  # type: ignore[arg-type]
            Pipeline(MAPPED, EDGE.path),
            publisher=publisher,
            dead_letters=self.quiet,
            lifecycle=Lifecycle(Backoff(rng=self.rng)),
            clock=self.clock,
            log=self.quiet,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.run())
            group.create_task(supervisor.run())

    async def run_worker(self) -> None:
        """The process of the flow."""
        publishers: list[SimPublisher] = []
        self.worker_publishers = publishers

        @asynccontextmanager
        async def open_publisher(partition: int) -> AsyncIterator[SimPublisher]:
            subject = f"uns.v1.acme.p1._ledger.e1.flow-parts-1-{partition}"
            publisher = SimPublisher(self.flows, subject, self.rng, self.clock)
            publishers.append(publisher)
            committing = asyncio.ensure_future(publisher.run())
            try:
                yield publisher
            finally:
                committing.cancel()

        wiring = Wiring(
            [self.integrity.name], self.flows.name,
            {i: f"uns.v1.acme.p1._ledger.e1.flow-parts-1-{i}.state" for i in range(self.partitions)},
            open_publisher, MemoryReader({s.name: s for s in (self.integrity, self.flows)}), self, self.quiet,
            self.clock, self.quiet,
        )  # fmt: skip
        self.runner = FlowRunner(PARTS, range(self.partitions), self.partitions, wiring)
        await self.runner.run()

    async def facts(self, stream: str) -> StreamFacts:
        """See `Streams`."""
        found = {s.name: s for s in (self.integrity, self.flows)}[stream]
        return StreamFacts("once", found.first_seq, found.last_seq)

    async def run_sourcing(self) -> None:
        """The hub's server."""
        async with asyncio.TaskGroup() as group:
            for origin in (self.integrity, self.flows):
                group.create_task(self.hub.source(origin))

    # -- faults -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what does not run."""
        self.edge = self.edge or asyncio.ensure_future(self.run_edge())
        self.worker = self.worker or asyncio.ensure_future(self.run_worker())
        self.sourcing = self.sourcing or asyncio.ensure_future(self.run_sourcing())

    async def kill_edge(self) -> None:
        """Kill -9 of the edge, or its power."""
        await self._kill("edge", self.publishers)

    async def kill_worker(self) -> None:
        """The same for the flow's process."""
        await self._kill("worker", self.worker_publishers)

    async def _kill(self, name: str, publishers: Sequence[SimPublisher]) -> None:
        task: asyncio.Task[None] | None = getattr(self, name)
        if task is None:
            return
        for publisher in publishers:
            publisher.crash(is_power_lost=self.rng.random() < 0.5)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]
        setattr(self, name, None)

    async def kill_hub(self) -> None:
        """Kill the hub; its newest messages are gone."""
        if self.sourcing is not None:
            self.sourcing.cancel()
            await asyncio.wait([self.sourcing])
            self.sourcing = None
            self.hub.lose_tail()

    async def cut_link(self) -> None:
        """Cut, or mend."""
        self.hub.is_link_up = not self.hub.is_link_up

    async def run(self, span_s: float = 4.0) -> None:
        """Break things for `span_s`, repair all, drain, check."""
        self.worker_publishers: list[SimPublisher] = []
        self.start()
        end_s = asyncio.get_running_loop().time() + span_s
        kinds = (self.kill_edge, self.kill_worker, self.kill_hub, self.cut_link)
        while asyncio.get_running_loop().time() < end_s:
            for _ in range(self.rng.randint(1, self.rows_max)):
                self.device.produce(self.clock.now_ns() + len(self.device.rows))
            await asyncio.sleep(self.rng.choice((0.01, 0.1, 1.0)))
            if self.rng.random() < 0.5:
                fault = self.rng.choice(kinds)
                self.faults[fault.__name__] = self.faults.get(fault.__name__, 0) + 1
                await fault()
            if self.rng.random() < 0.6:
                self.start()
        self.hub.is_link_up = True
        self.start()
        try:
            await self.drain()
            self.check()
        finally:
            for task in (self.edge, self.worker, self.sourcing):
                if task is not None:
                    task.cancel()
                    await asyncio.wait([task])

    # -- the proof ----------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """After the faults everything is level within a bound of virtual time."""
        async with asyncio.timeout(600):
            while not self.is_level():
                for task in (self.edge, self.worker, self.sourcing):
                    if task is not None and task.done():
                        task.result()
                await asyncio.sleep(0.5)

    def is_level(self) -> bool:
        """The hub has all that the device has, and what the flow makes of it."""
        return (
            self.hub.cursor(self.integrity.name) == self.integrity.last_seq
            and self.hub.cursor(self.flows.name) == self.flows.last_seq
            and len(self.values("_tag")) >= len(self.device.rows)
            and len(self.values("_count")) >= sum(len(v) for v in self.expected_parts().values())
        )

    def values(self, contract: str) -> list[tuple[str, Any, int]]:
        """Machine, value, time of what the hub holds of one contract."""
        self._read_on()
        return [told for kind, told in self._told if kind == contract and told is not None]

    def _read_on(self) -> None:
        """Decode what is new at the hub; what it has lost since is forgotten."""
        messages, told, read = self.hub.stream.messages, self._told, self._read
        while read and (len(read) > len(messages) or read[-1] is not messages[len(read) - 1]):
            read.pop()
            told.pop()
        for received in messages[len(read) :]:
            read.append(received)
            machine, contract = _place(received.subject)
            record = decode_sample(received.payload) if machine else None
            if record is None or record.value is None:
                told.append((contract, None))
            else:
                told.append((contract, (machine, record.value, record.time_ns)))

    def expected_parts(self) -> dict[str, list[int]]:
        """The truth, counted with nothing of the product."""
        dark = [False] * MACHINES
        totals = [0] * MACHINES
        parts: dict[str, list[int]] = {f"m{i}": [] for i in range(MACHINES)}
        for _, machine, is_dark in self.device.rows:
            if is_dark and not dark[machine]:
                totals[machine] += 1
                parts[f"m{machine}"].append(totals[machine])
            dark[machine] = is_dark
        return parts

    def check(self) -> None:
        """Nothing lost, nothing doubled, in order, and the ledger agrees."""
        want = [(f"m{machine}", is_dark, t) for t, machine, is_dark in self.device.rows]
        assert self.values("_tag") == want
        counted: dict[str, list[int]] = {f"m{i}": [] for i in range(MACHINES)}
        for machine, value, _ in self.values("_count"):
            counted[machine].append(value)
        assert counted == self.expected_parts()
        told = self.values("_kpi")
        assert len(told) == len(set(told))
        verifier = LedgerVerifier()
        for received in self.hub.stream.messages:
            headers = parse_headers(received.headers).values
            origin, seq = parse_stream_source(headers["Nats-Stream-Source"])
            verifier.feed(origin, seq, received.subject, int(headers.get("Ms-Count", "1")), received.payload)
        assert all(account.is_clean for account in verifier.accounts.values()), verifier.accounts
        assert not self.quiet.letters
        assert not self.quiet.rejected


@cache
def _place(subject: str) -> tuple[str, str]:
    """Machine and contract; no machine for the ledger's."""
    tokens = subject.split(".")
    contract = next(token for token in tokens if token.startswith("_"))
    return ("" if is_ledger_subject(subject) else tokens[4], contract)
