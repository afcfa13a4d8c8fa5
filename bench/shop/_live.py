"""Machines live, in a process of its own: `python -m bench.shop._live URL MACHINES SECONDS` prints JSON; with `lines`
behind it the figures of their lines are looked at instead; with `flows`, it is the process of the flows."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

import msgspec
import psutil

from bench.count._flow import IN, OUT, Surroundings, make_streams
from bench.shop._plant import EVERY, EXPLAIN, oee_flow, place, places_flow, seeded_entries
from millstream.bus import FLOW_PREFIX, GroupCommitPublisher, RawConnection, StreamReader
from millstream.flow import Commit, Flow, FlowRunner, Input, Offset, TimePolicy, Wiring, encode_commit
from millstream.flow._codec import COMMIT_FORMAT
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import SystemClock, calm_collector
from millstream.protocols.cloudevents import parse_time_ns
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import ConnectorTools, Control, Message, Received

BEAT_S = 0.05
BEATS = 20  # a second
WARM_S_MIN, WARM_S_MAX = 3, 60
FRESH_NS = 10**9  # when nothing older waits for its figure, the flows keep up
IDLE_NS = 100_000_000
RECORD_BYTES = 256 * 1024
STATES = {
    "names": {"execution": "execution"}, "otherwise": "Unknown",
    "rules": [{"state": "Execute", "when": 'execution == "ACTIVE"'}, {"state": "Held", "when": 'execution == "WAIT"'}],
}  # fmt: skip


def flows(*, with_lines: bool) -> list[Flow[Any]]:
    """States, counts, OEE; of the lines, too."""
    idle = TimePolicy(idle_ns=IDLE_NS)
    oee = [oee_flow(IDLE_NS)]
    if with_lines:
        oee = [oee_flow(IDLE_NS, explain=EXPLAIN), places_flow(IDLE_NS, every=EVERY, explain="1ms")]
    return [
        FLOW_TYPES["machine_state"].make("states", [Input("acme/plant1/*/*:execution")], STATES, time=idle),
        FLOW_TYPES["part_counter"].make("counts", [Input("acme/plant1/*/*:counter")], {"mode": "counter"}, time=idle),
        *oee,
    ]  # fmt: skip


def ledger(flow: str) -> str:
    """Of its records."""
    return f"uns.v1.acme._ledger.bench.flow-{flow}-1-0"


async def run_flows(url: str, *, with_lines: bool) -> None:
    """All of them until the process is told to end; says when they are ready."""
    clock, log = SystemClock(), ConnectorTools("bench").log
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for flow in flows(with_lines=with_lines):
            connection = await stack.enter_async_context(RawConnection(url))
            around, subject = Surroundings(connection), ledger(flow.name)

            def publisher(partition: int, connection: RawConnection = connection, subject: str = subject) -> Any:
                return GroupCommitPublisher(connection, OUT, ledger_subject=subject, publish_prefix=FLOW_PREFIX)

            inputs = [OUT] if flow.name in ("oee", "places") else [IN]
            wired = Wiring(
                inputs, OUT, {0: f"{subject}.state"}, publisher, StreamReader(connection), around, around, clock, log
            )
            ready = asyncio.Event()
            group.create_task(FlowRunner(flow, [0], 1, wired).run(ready))
            await ready.wait()
        print("ready", flush=True)


async def seed(connection: RawConnection, machines: int) -> int:
    """What OEE has kept of two days goes into its records; how many bytes that are. It has read its input up to there,
    as a flow that has worked for two days."""
    subject, rest, size, whole = ledger("oee"), [], 0, 0
    number = first_seq = last_seq = 0
    created = (await Surroundings(connection).facts(OUT)).created
    async with GroupCommitPublisher(connection, OUT, ledger_subject=subject, publish_prefix=FLOW_PREFIX) as publisher:

        async def put(entries: list[tuple[str, bytes | None]]) -> int:
            commit = Commit(COMMIT_FORMAT, number, {OUT: Offset(created, last_seq)}, 0, first_seq, entries)
            stored = await (await publisher.submit([], Control(f"{subject}.state", encode_commit(commit))))
            return stored.last_seq - 1

        for key, raw in seeded_entries(machines, time.time_ns()):
            rest.append((key, raw))
            size += len(raw or b"")
            if size > RECORD_BYTES:
                number += 1
                last_seq = await put(rest)
                first_seq = first_seq or last_seq
                rest, whole, size = [], whole + size, 0
        number += 1
        await put(rest)
    return whole + size


def _sample(machine: int, name: str, value: Any, at_ns: int) -> Message:
    subject = f"uns.v1.{place(machine).replace('/', '.')}._tag.{name}"
    return Message(subject, encode_sample(value, quality=0, source_time_ns=at_ns, ingest_time_ns=at_ns))


class Plant:
    """What was said by the machines, and when a figure had it. They all begin at once, each with what a first event
    costs after two days; ages count from when the flows keep up with them."""

    filters: Sequence[str] = ("uns.v1.acme.plant1.*.*._kpi.oee.live.oee",)
    state_ago_ns = 0

    def __init__(self, machines: int) -> None:
        self.machines = machines
        self.totals = [0] * machines
        self.waiting: dict[str, deque[int]] = defaultdict(deque)
        self.ages_ms: list[float] = []
        self.events = self.figures = 0
        self.begun_ns = self.warm_ns = 0
        self.warm_s = 0.0

    async def feed(self, url: str, seconds: int) -> None:
        """Beat by beat: each machine a count a second, and a state each ten seconds."""
        async with (
            RawConnection(url) as connection,
            GroupCommitPublisher(connection, IN, ledger_subject="uns.v1.acme._ledger.bench.in") as publisher,
        ):
            begun, beat, left = time.monotonic(), 0, seconds * BEATS
            self.begun_ns = time.time_ns()
            while left:
                await asyncio.sleep(max(0.0, begun + beat * BEAT_S - time.monotonic()))
                unit = [each for m in range(beat % BEATS, self.machines, BEATS) for each in self._said(m, beat)]
                if unit:
                    await publisher.submit(unit)
                beat += 1
                if self.warm_ns:
                    left -= 1
                elif beat >= WARM_S_MAX * BEATS or (beat >= WARM_S_MIN * BEATS and self._keeps_up()):
                    self.warm_ns, self.warm_s = time.time_ns(), time.monotonic() - begun
            await publisher.flush()

    def _keeps_up(self) -> bool:
        oldest_ns = min((each[0] for each in self.waiting.values() if each), default=0)
        return not oldest_ns or time.time_ns() - oldest_ns < FRESH_NS

    def _said(self, machine: int, beat: int) -> list[Message]:
        now_ns = time.time_ns()
        self.totals[machine] += 1
        found = [_sample(machine, "counter", self.totals[machine], now_ns)]
        second = beat // BEATS
        if second % 10 == machine % 10:
            said = ("ACTIVE", "WAIT")[second // 10 % 2]
            found.append(_sample(machine, "execution", said, now_ns - self.state_ago_ns))
        if second:  # the first reading of a counter is no part
            self._await(machine, now_ns)
            self.events += len(found)
        return found

    def _await(self, machine: int, at_ns: int) -> None:
        self.waiting[place(machine).rpartition("/")[2]].append(at_ns)

    async def watch(self, url: str, start_seq: int) -> None:
        """Take each live figure as it arrives."""
        async with RawConnection(url) as connection:
            reading = StreamReader(connection).read(OUT, start_seq=start_seq, filter_subjects=self.filters)
            async with aclosing(reading) as batches:
                async for batch in batches:
                    now_ns = time.time_ns()
                    for received in batch:
                        self._look(received, now_ns)

    def _look(self, received: Received, now_ns: int) -> None:
        """It has all of its machine up to its time."""
        self.figures += 1
        until_ns = decode_sample(received.payload).time_ns
        waiting = self.waiting[received.subject.split(".")[5]]
        while waiting and waiting[0] <= until_ns:
            self._shown(waiting.popleft(), now_ns)

    def _shown(self, at_ns: int, now_ns: int) -> None:
        if self.warm_ns and at_ns >= self.warm_ns:
            self.ages_ms.append((now_ns - at_ns) / 1e6)


class _Running(msgspec.Struct):
    """Of an event that says what a live figure is made of."""

    produced: float
    end: str


class Lines(Plant):
    """The same, looked at by line. A figure of a line names no machine: it has those words of its machines, in the
    order in which they were stored, whose parts add up to its own. So that each part has a word of its own, machines
    say their states half a second before, and are told at once (`EXPLAIN`)."""

    filters = ("uns.v1.acme.plant1.*.*._event.oee.live", "uns.v1.acme.plant1.*._event.oee.live")
    state_ago_ns = 10**9 // 2

    def __init__(self, machines: int) -> None:
        super().__init__(machines)
        self.produced: dict[str, float] = {}
        self.sums: dict[str, float] = defaultdict(float)
        self.parts: dict[str, deque[float]] = defaultdict(deque)

    def _await(self, machine: int, at_ns: int) -> None:
        """The machine's word will be waited for."""

    def _look(self, received: Received, now_ns: int) -> None:
        line, name = received.subject.split(".")[4:6]
        told = msgspec.json.decode(received.payload, type=_Running)
        waiting, parts = self.waiting[line], self.parts[line]
        if name != "_event":
            before = self.produced.get(name)
            self.produced[name] = told.produced
            self.sums[line] += told.produced - (before or 0.0)
            if before is not None and told.produced > before:
                waiting.append(parse_time_ns(told.end))
                parts.append(self.sums[line])
            return
        self.figures += 1
        while parts and parts[0] <= told.produced:
            parts.popleft()
            self._shown(waiting.popleft(), now_ns)


async def live(url: str, machines: int, seconds: int, *, with_lines: bool) -> dict[str, Any]:
    """Ages in ms, from the making of an event to the arrival of the live OEE that has it."""
    plant = Lines(machines) if with_lines else Plant(machines)
    async with RawConnection(url) as connection:
        await make_streams(connection)
        kept_bytes = await seed(connection, machines)
        more = ["flows", *(["lines"] if with_lines else [])]
        command = [sys.executable, "-m", "bench.shop._live", url, str(machines), str(seconds), *more]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert (await process.stdout.readline()).strip() == b"ready"
            meter = psutil.Process(process.pid)
            start_seq = (await Surroundings(connection).facts(OUT)).last_seq + 1
            before, begun = meter.cpu_times(), time.monotonic()
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(plant.watch(url, start_seq))
                await plant.feed(url, seconds)
                deadline = time.monotonic() + 60
                while any(plant.waiting.values()) and time.monotonic() < deadline:
                    await asyncio.sleep(BEAT_S)
                watching.cancel()
            after, rss, worked_s = meter.cpu_times(), meter.memory_info().rss, time.monotonic() - begun
        finally:
            process.terminate()
            await process.wait()
        totals = await _totals(connection, start_seq)
    ages = sorted(plant.ages_ms) or [0.0]
    told = sum(totals.values())
    return {
        "seconds": worked_s, "warm_s": plant.warm_s, "events": plant.events, "figures": plant.figures,
        "p50": ages[len(ages) // 2], "p99": ages[int(len(ages) * 0.99)], "max": ages[-1],
        "missing": sum(len(each) for each in plant.waiting.values()),
        "flows_cpu_s": after.user + after.system - before.user - before.system, "rss_mb": rss / 1e6, "parts": told,
        "is_exact": told == sum(plant.totals) - machines, "kept_mb": kept_bytes / 1e6,
    }  # fmt: skip


async def _totals(connection: RawConnection, start_seq: int) -> dict[str, int]:
    """The last total of each machine."""
    found: dict[str, int] = {}
    reading = StreamReader(connection).read(
        OUT, start_seq=start_seq, filter_subjects=["uns.v1.acme.plant1.*.*._count.parts"], wait_s=0.5
    )
    async with aclosing(reading) as batches:
        async for batch in batches:
            if not batch:
                return found
            found.update((each.subject, int(decode_sample(each.payload).value)) for each in batch)
    return found


def main() -> None:
    """Run what the command line says."""
    calm_collector()  # as a node does
    url, machines, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with_lines = "lines" in sys.argv[4:]
    if "flows" in sys.argv[4:]:
        asyncio.run(run_flows(url, with_lines=with_lines))
    else:
        print(json.dumps(asyncio.run(live(url, machines, seconds, with_lines=with_lines))))


if __name__ == "__main__":
    main()
