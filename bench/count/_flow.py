"""One measurement of a flow in a process of its own: `python -m bench.count._flow CASE URL EVENTS KEYS` prints JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import msgspec

from bench._report import digest
from bench.count._load import level, subject
from millstream.bus import FLOW_PREFIX, GroupCommitPublisher, RawConnection, StreamApi, StreamReader, find_stream
from millstream.flow import (
    Event,
    Flow,
    FlowCore,
    FlowRunner,
    Input,
    KeyStore,
    Rejected,
    StreamFacts,
    TimePolicy,
    Wiring,
)
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import NotFoundError, SystemClock, calm_collector
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import ConnectorTools, Control, Message, Received, Stored

IN, OUT = "IN", "H_FLOW"
LEDGER = "uns.v1.acme._ledger.bench.flow-count-1-0"
START_NS, STEP_NS = 1_767_225_600_000_000_000, 1_000_000
UNIT_MESSAGES = 500
POLL_S = 0.01
TRICKLE_S = 0.005  # between two units of the latency run


class Many(msgspec.Struct, array_like=True):
    """What the restored keys hold: as much as a part counter."""

    total: int = 0
    level: bool = False
    counted_ns: int = 0


def events(count: int, keys: int) -> Iterator[Message]:
    """The recorded day of a light barrier at each machine."""
    for n in range(count):
        at = START_NS + n * STEP_NS
        payload = encode_sample(level(n, keys), quality=0, source_time_ns=at, ingest_time_ns=at)
        yield Message(subject(n, keys), payload)


def count_flow() -> Flow[Any]:
    """The built-in part counter."""
    inputs = [Input("acme/**:barrier")]
    return FLOW_TYPES["part_counter"].make("count", inputs, {}, time=TimePolicy(idle_ns=None))


class LoosePublisher:
    """Outputs in the same batches, but neither state nor position: what at-least-once comes to."""

    def __init__(self, publisher: GroupCommitPublisher) -> None:
        self._publisher = publisher

    async def __aenter__(self) -> Self:
        await self._publisher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._publisher.__aexit__(kind, error, trace)

    async def last_control(self, subject: str) -> None:
        """There is none."""

    async def submit(
        self, messages: Sequence[Message], control: Control | None = None, *, patience_s: float = 0.0
    ) -> asyncio.Future[Stored]:
        """Without the record."""
        if messages:
            return await self._publisher.submit(messages)
        done: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        done.set_result(Stored(OUT, 1))
        return done


class Surroundings:
    """The other ports of a flow."""

    def __init__(self, connection: RawConnection) -> None:
        self._api = StreamApi(connection)

    async def facts(self, stream: str) -> StreamFacts:
        """The stream now."""
        info = await find_stream(self._api, stream)
        if info is None:
            raise NotFoundError("no such stream", where=stream)
        return StreamFacts(info.created, info.first_seq, info.last_seq)

    async def put(self, flow: str, rejected: Sequence[Rejected]) -> int:
        """No input here may be refused."""
        raise SystemExit(f"bench: refused: {rejected[0].reason}")

    async def position(self) -> int:
        """There is nothing."""
        return 0

    async def kept_since(self, position: int) -> dict[str, str]:
        """There is nothing."""
        return {}


def wiring(connection: RawConnection, *, is_loose: bool = False) -> Wiring:
    """As a node's worker has it."""
    around = Surroundings(connection)

    def open_publisher(partition: int) -> Any:
        publisher = GroupCommitPublisher(connection, OUT, ledger_subject=LEDGER, publish_prefix=FLOW_PREFIX)
        return LoosePublisher(publisher) if is_loose else publisher

    return Wiring(
        [IN], OUT, {0: f"{LEDGER}.state"}, open_publisher, StreamReader(connection), around, around, SystemClock(),
        ConnectorTools("bench").log,
    )  # fmt: skip


async def make_streams(connection: RawConnection) -> None:
    """Both synced before they answer."""
    api = StreamApi(connection)
    common: dict[str, Any] = {"allow_direct": True, "allow_atomic": True}
    await api.request(f"STREAM.CREATE.{IN}", {"name": IN, "subjects": ["uns.v1.>"], **common})
    transform = {"src": f"{FLOW_PREFIX}uns.v1.>", "dest": "uns.v1.>"}
    body = {"name": OUT, "subjects": [transform["src"]], "subject_transform": transform, **common}
    await api.request(f"STREAM.CREATE.{OUT}", body)


async def fill(connection: RawConnection, messages: Iterator[Message]) -> None:
    """Store the inputs."""
    async with GroupCommitPublisher(connection, IN, ledger_subject="uns.v1.acme._ledger.bench.in") as publisher:
        unit: list[Message] = []
        for message in messages:
            unit.append(message)
            if len(unit) == UNIT_MESSAGES:
                await publisher.submit(unit)
                unit = []
        if unit:
            await publisher.submit(unit)
        await publisher.flush()


@asynccontextmanager
async def running(flow: Flow[Any], wired: Wiring) -> AsyncIterator[FlowRunner]:
    """A flow at work, restored."""
    runner, ready = FlowRunner(flow, [0], 1, wired), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(runner.run(ready))
        await ready.wait()
        yield runner
        task.cancel()


async def through(url: str, count: int, keys: int, *, is_loose: bool) -> dict[str, Any]:
    """A full input stream through the flow: seconds until the last output is stored."""
    async with RawConnection(url) as filler, RawConnection(url) as connection:
        await make_streams(connection)
        await fill(filler, events(count, keys))
        last_seq = (await Surroundings(connection).facts(IN)).last_seq
        begun, cpu = time.perf_counter(), time.process_time()
        async with running(count_flow(), wiring(connection, is_loose=is_loose)) as runner:
            mine = runner.running[0]
            while mine.core.position(IN) < last_seq - 1 or mine.core.is_worth_a_commit or not mine.is_idle:
                await asyncio.sleep(POLL_S)
            await mine.finish()
            seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        totals, outputs = await read_totals(connection)
        return {
            "seconds": seconds, "cpu_s": cpu, "outputs": outputs, "hash": digest(sorted(totals.items())),
            "commits": mine.commits,
        }  # fmt: skip


async def read_totals(connection: RawConnection) -> tuple[dict[str, int], int]:
    """What the output stream says: the last total of each machine, and how many outputs."""
    totals: dict[str, int] = {}
    count = 0
    async with aclosing(StreamReader(connection).read(OUT, wait_s=0.2)) as batches:
        async for batch in batches:
            if not batch:
                return totals, count
            for received in batch:
                if "._count." in received.subject:
                    totals[received.subject.split(".")[4]] = int(decode_sample(received.payload).value)
                    count += 1
    return totals, count


async def latency(url: str, count: int, keys: int, rate: int) -> dict[str, Any]:
    """Ages of the outputs, from the making of the event to the arrival of the stored output at a reader, in ms."""
    async with RawConnection(url) as feeder, RawConnection(url) as connection, RawConnection(url) as listener:
        await make_streams(connection)
        ages: list[float] = []
        async with running(count_flow(), wiring(connection)), asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(listener, ages))
            await _trickle(feeder, count, keys, rate)
            have = -1
            while have != len(ages):  # the last ones are under way
                have = len(ages)
                await asyncio.sleep(0.5)
            watching.cancel()
    ages.sort()
    at = {name: ages[min(len(ages) - 1, int(len(ages) * share))] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {"outputs": len(ages), **at, "max": ages[-1]}


async def _trickle(connection: RawConnection, count: int, keys: int, rate: int) -> None:
    async with GroupCommitPublisher(connection, IN, ledger_subject="uns.v1.acme._ledger.bench.in") as publisher:
        begun, sent = time.monotonic(), 0
        while sent < count:
            due = min(count, int((time.monotonic() - begun) * rate))
            unit = []
            for n in range(sent, due):
                now = time.time_ns()
                payload = encode_sample(level(n, keys), quality=0, source_time_ns=now, ingest_time_ns=now)
                unit.append(Message(subject(n, keys), payload))
            if unit:
                await publisher.submit(unit)
            sent = due
            await asyncio.sleep(TRICKLE_S)
        await publisher.flush()


async def _watch(connection: RawConnection, ages: list[float]) -> None:
    async with aclosing(StreamReader(connection).read(OUT)) as batches:
        async for batch in batches:
            now = time.time_ns()
            ages += [(now - decode_sample(r.payload).time_ns) / 1e6 for r in batch if "._count." in r.subject]


async def restore(url: str, keys: int) -> dict[str, Any]:
    """Seconds until a flow with so many keys is ready again."""

    def keep(state: Many, event: Event) -> tuple[Many, Sequence[Any]]:
        """One more, nothing said."""
        return Many(state.total + 1, bool(event.value), event.time_ns), ()

    flow: Flow[Many] = Flow("count", (Input("acme/**:barrier"),), keep, Many, Many, time=TimePolicy(idle_ns=None))
    async with RawConnection(url) as connection:
        await make_streams(connection)
        await _store_keys(connection, flow, keys)
        wired = wiring(connection)
        begun, cpu = time.perf_counter(), time.process_time()
        async with running(flow, wired) as runner:
            seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
            have = runner.running[0].core.keys_count
            stored = (await Surroundings(connection).facts(OUT)).last_seq
    return {"seconds": seconds, "cpu_s": cpu, "keys": have, "messages": stored}


async def _store_keys(connection: RawConnection, flow: Flow[Any], keys: int) -> None:
    from millstream.flow._codec import encode_commit  # the records as the runner writes them

    created = (await Surroundings(connection).facts(IN)).created
    core: FlowCore[Any] = FlowCore(flow, KeyStore(), created={IN: created})
    core.begin()
    payload = encode_sample(1, quality=0, source_time_ns=START_NS, ingest_time_ns=START_NS)
    async with GroupCommitPublisher(connection, OUT, ledger_subject=LEDGER, publish_prefix=FLOW_PREFIX) as publisher:
        for n in range(keys):
            core.feed(IN, Received(subject(n, keys), payload, None, n + 1, START_NS))
            if core.is_full or n == keys - 1:
                unit = core.take()
                stored = await publisher.submit(unit.messages, Control(f"{LEDGER}.state", encode_commit(unit.commit)))
                core.committed((await stored).last_seq - 1)


def main() -> None:
    """Run the case named on the command line."""
    calm_collector()  # as a node does
    case, url, count, keys, rate = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    if case == "latency":
        found = asyncio.run(latency(url, count, keys, rate))
    elif case == "restore":
        found = asyncio.run(restore(url, keys))
    else:
        found = asyncio.run(through(url, count, keys, is_loose=case == "loose"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
