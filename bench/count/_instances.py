"""The count flow in worker processes, as a node runs it: how much more two of them do, and what comes and goes.

The workers wait, paused, until all are up; the clock runs from `resume` until every partition has committed the last
event. The processor time of each process is taken over the same time, so that it shows what was full.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench._report import Row, digest
from bench._server import BenchServer
from bench.count._flow import IN, OUT, Surroundings, events, fill, make_streams
from bench.count._load import level, subject
from millstream.bus import Credentials, RawConnection, StreamApi, StreamReader, deadletter_stream, ensure_stream
from millstream.config import FlowEntry
from millstream.flow import decode_commit
from millstream.kernel import SystemClock
from millstream.model import AssetPath
from millstream.protocols.ledger import LedgerVerifier
from millstream.protocols.uns_payload import decode_sample
from millstream.sdk import ConnectorTools
from millstream.worker import FlowDirector, FlowSupervisor, state_subject
from millstream.worker import Surroundings as Place

NODE, PLACE = "bench", "acme"
PARTITIONS = 2
POLL_S = 0.02
DEADLINE_S = 600.0
OTHER_CORES_MAX = 0.3  # more work of others leaves nothing to grow into: then there is no verdict
FREE_CORES_MAX = 0.2  # then the machine is full, and no instance can add anything
GROWTH_MIN = 1.5  # of two instances over one, where the worker is the bottleneck
HEAVY = f"{Path(__file__).parent / '_heavy.py'}:flow"


def entry(name: str, instances: int) -> FlowEntry:
    """The built-in counter, or the one whose steps compute for long."""
    what: dict[str, Any] = (
        {"python": HEAVY} if name == "heavy" else {"type": "part_counter", "inputs": ["acme/**:barrier"]}
    )
    return FlowEntry.model_validate(
        {"name": name, **what, "partitions": PARTITIONS, "instances": instances, "idle": "never"}
    )


@dataclass(slots=True)
class Site:
    """A server with a full input stream, and the node's side of one flow."""

    connection: RawConnection
    place: Place
    server: BenchServer
    flow: FlowEntry
    director: FlowDirector
    last_seq: int
    clock: SystemClock = field(default_factory=SystemClock)

    async def ask(self, action: str) -> None:
        """As `millstream flow` does."""
        answer: Any = await self.director.answer(json.dumps({"action": action, "flow": self.flow.name}).encode())
        if "error" in answer:
            raise SystemExit(f"bench: {action}: {answer['error']}")

    async def progress(self) -> list[int]:
        """How far each partition has committed its input."""
        api, place = StreamApi(self.connection), AssetPath.parse(PLACE)
        found = []
        for number in range(PARTITIONS):
            record = await api.last(OUT, state_subject(place, NODE, self.flow.name, 1, number))
            offsets = decode_commit(record.payload).offsets if record is not None else {}
            found.append(offsets[IN].seq if IN in offsets else 0)
        return found

    async def reach(self, share: float) -> None:
        """Wait until every partition has committed this share of the input."""
        async with asyncio.timeout(DEADLINE_S):
            while min(await self.progress()) < self.last_seq * share:
                await asyncio.sleep(POLL_S)

    def instances(self) -> dict[str, int]:
        """Those that live, with how many partitions each runs."""
        return {each["instance"]: each["partitions_count"] for each in self.director.status()[0]["instances"]}

    async def wait_for(self, instances: int) -> None:
        """Until so many live and have their shares."""
        async with asyncio.timeout(DEADLINE_S):
            while len(found := self.instances()) != instances or sum(found.values()) != PARTITIONS:
                await asyncio.sleep(POLL_S)

    def pids(self) -> list[int]:
        """The worker processes of the node itself."""
        return [w["pid"] for w in self.director.status()[0]["workers"] if w["pid"] is not None]


@asynccontextmanager
async def open_site(flow: FlowEntry, count: int, keys: int) -> AsyncIterator[Site]:
    """The workers are up and paused."""
    log = ConnectorTools("bench").log
    with BenchServer("integrity") as server, tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder:
        async with RawConnection(server.url) as filler, RawConnection(server.url) as connection:
            await make_streams(connection)
            await ensure_stream(StreamApi(connection), deadletter_stream("DLQ", NODE))
            await fill(filler, events(count, keys))
            place = Place(NODE, PLACE, server.url, Credentials(), (IN,), OUT, NODE, Path(folder))
            director = FlowDirector([flow], place, connection, clock=SystemClock(), log=log)
            await director.prepare()
            last_seq = (await Surroundings(connection).facts(IN)).last_seq - 1  # the filler's record stands behind
            site = Site(connection, place, server, flow, director, last_seq)
            await site.ask("pause")
            async with asyncio.TaskGroup() as group:
                running = group.create_task(director.run())
                async with asyncio.timeout(DEADLINE_S):
                    while len(site.instances()) < flow.instances:
                        await asyncio.sleep(POLL_S)
                try:
                    yield site
                finally:
                    director.stop()
                    await asyncio.wait([running])


async def read_outputs(connection: RawConnection) -> tuple[dict[str, list[int]], bool]:
    """Machine -> its counts as they were said, and whether the ledger of all that was stored is clean."""
    counts: dict[str, list[int]] = {}
    verifier = LedgerVerifier()
    async with aclosing(StreamReader(connection).read(OUT, wait_s=0.5)) as batches:
        async for batch in batches:
            if not batch:
                break
            for each in batch:
                verifier.feed(OUT, each.seq, each.subject, 1, each.payload)
                if "._count." in each.subject:
                    machine = each.subject.split(".")[4]
                    counts.setdefault(machine, []).append(int(decode_sample(each.payload).value))
    account = verifier.accounts[OUT]
    return counts, account.is_clean and not account.unrecorded


def judge(counts: dict[str, list[int]], count: int, keys: int) -> tuple[int, int]:
    """Parts that are missing and that were said more than once, by the events themselves."""
    truth = Counter(subject(n, keys).split(".")[4] for n in range(count) if level(n, keys))
    lost = repeated = 0
    for machine, parts in truth.items():
        said = [value for value in counts.get(machine, []) if value]  # the first of all says 0
        lost += len(set(range(1, parts + 1)) - set(said))
        repeated += len(said) - len(set(said)) + len(set(said) - set(range(1, parts + 1)))
    return lost, repeated


async def _scaled(name: str, instances: int, count: int, keys: int) -> dict[str, Any]:
    async with open_site(entry(name, instances), count, keys) as site:
        workers = [psutil.Process(pid) for pid in site.pids()]

        def cpu_s() -> list[float]:
            own = time.process_time()
            return [site.server.usage()[0], own, *(sum(worker.cpu_times()[:2]) for worker in workers)]

        begun, before, idle_s = time.perf_counter(), cpu_s(), psutil.cpu_times().idle
        await site.ask("resume")
        await site.reach(1.0)
        seconds, used = time.perf_counter() - begun, [b - a for a, b in zip(before, cpu_s(), strict=True)]
        idle_cores = (psutil.cpu_times().idle - idle_s) / seconds
        shares = sorted(site.instances().values())
        counts, is_clean = await read_outputs(site.connection)
    lost, repeated = judge(counts, count, keys)
    if lost or repeated or not is_clean or shares != [PARTITIONS // instances] * instances:
        raise SystemExit(f"bench: {name}: lost {lost}, repeated {repeated}, ledger clean {is_clean}, shares {shares}")
    cores = [part / seconds for part in used]
    return {
        "seconds": seconds, "events_per_s": count / seconds, "server_cores": cores[0], "bench_cores": cores[1],
        "worker_cores": cores[2:], "idle_cores": idle_cores,
        "other_cores": max(0.0, (os.cpu_count() or 1) - idle_cores - sum(cores)),
        "hash": digest(sorted((machine, values[-1]) for machine, values in counts.items())),
    }  # fmt: skip


def scale_rows(instances: Sequence[int], count: int, keys: int, *, is_short: bool, repeat: int) -> list[Row]:
    """The built-in counter and the heavy one, with each number of instances; the best of `repeat` turns counts."""
    rows = []
    for name, what, number in (("count", "part counter", count), ("heavy", "steps of 0.2 ms", max(count // 8, 1))):
        best: dict[int, dict[str, Any]] = {}
        for _ in range(repeat):
            for many in instances:
                found = asyncio.run(_scaled(name, many, number, keys))
                if many not in best or found["seconds"] < best[many]["seconds"]:
                    best[many] = found
        first = best[instances[0]]
        for many, found in best.items():
            if found["hash"] != first["hash"]:
                raise SystemExit(f"bench: {name}: {many} instances come to other totals")
            growth = found["events_per_s"] / first["events_per_s"]
            is_quiet = found["other_cores"] <= OTHER_CORES_MAX
            has_target = name == "heavy" and many == 2 and instances[0] == 1 and is_quiet
            is_met = not has_target or is_short or growth >= GROWTH_MIN or found["idle_cores"] <= FREE_CORES_MAX
            remark = "" if is_quiet else "; other work fills the machine: growth is not to be seen"
            workers = " + ".join(f"{cores:.2f}" for cores in found["worker_cores"])
            rows.append(
                Row(
                    f"{what}, {many} instance{'s' if many > 1 else ''}", f"{found['events_per_s']:,.0f} events/s",
                    f"ratio {GROWTH_MIN:g}, or the machine full" if has_target else "", growth, is_met,
                    f"{found['events_per_s'] / sum(found['worker_cores']):,.0f} events a worker's core and second; "
                    f"cores: workers {workers}, server {found['server_cores']:.2f}, bench {found['bench_cores']:.2f},"
                    f" other work {found['other_cores']:.2f}, free {found['idle_cores']:.2f}{remark}",
                    found["hash"], found,
                )
            )  # fmt: skip
    return rows


async def _moving(count: int, keys: int) -> dict[str, Any]:
    """One instance at work; another comes, the first is killed and comes back, the other one goes."""
    async with open_site(entry("heavy", 1), count, keys) as site, asyncio.TaskGroup() as group:
        clock, log = site.clock, ConnectorTools("bench").log
        await site.ask("resume")
        await site.reach(0.1)
        other = FlowSupervisor(entry("heavy", 1), site.place, clock=clock, log=log, on_end=lambda _: None)
        begun = time.perf_counter()
        working = group.create_task(other.run())
        await site.wait_for(2)
        shared_s = time.perf_counter() - begun
        await site.reach(0.3)
        os.kill(site.pids()[0], signal.SIGKILL)
        begun, before = time.perf_counter(), max(await site.progress())
        while min(await site.progress()) < before:  # what the dead one had goes on
            await asyncio.sleep(POLL_S)
        taken_s = time.perf_counter() - begun
        await site.wait_for(2)
        await site.reach(0.6)
        other.stop()
        await asyncio.wait([working])
        is_under_load = min(await site.progress()) < site.last_seq
        await site.wait_for(1)
        await site.reach(1.0)
        counts, is_clean = await read_outputs(site.connection)
    lost, repeated = judge(counts, count, keys)
    return {
        "lost": lost, "repeated": repeated, "is_clean": is_clean, "is_under_load": is_under_load,
        "shared_s": shared_s, "taken_over_s": taken_s, "outputs": sum(map(len, counts.values())),
    }  # fmt: skip


def moving_row(count: int, keys: int, *, is_short: bool) -> Row:
    """What is lost and repeated while instances come, are killed and go."""
    found = asyncio.run(_moving(count, keys))
    is_exact = not found["lost"] and not found["repeated"] and found["is_clean"]
    return Row(
        "an instance comes, one is killed, one goes", f"{found['lost']} lost, {found['repeated']} repeated",
        "none, under load", None, is_exact and (is_short or found["is_under_load"]),
        f"shared after {found['shared_s']:.1f} s, the dead one's part goes on after {found['taken_over_s']:.1f} s; "
        f"{found['outputs']:,} outputs, ledger {'clean' if found['is_clean'] else 'NOT clean'}",
        digest([found["lost"], found["repeated"], found["outputs"]]), found,
    )  # fmt: skip
