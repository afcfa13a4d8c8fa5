"""Power loss: everything stops at once, and what was not synced is gone. Three services side by side on one disk.

The edge's integrity class has to keep all that it acknowledged. The other two are the control: a stream that is synced
lazily, and a paho service behind mosquitto. When neither of them loses anything, the harness has proved nothing.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from millstream.kernel import NotFoundError, PlantError, SystemClock, seeded
from millstream.rig import Child, Progress, new_secret, write_document, write_private
from millstream.sim.producer_ledger import LedgerFollower, Truth, read_ledger
from millstream.torture._broker import PlainBroker, why_no_broker
from millstream.torture._disk import PowerCutDisk
from millstream.torture._gather import gather
from millstream.torture._lazy import PATH, STREAM, LazyWriter
from millstream.torture._processes import family, strike
from millstream.torture._reference import edge_flows, hub_flows
from millstream.torture._sinks import read_stream
from millstream.torture._site import (
    SitePlan,
    barrier_arguments,
    edge_document,
    free_ports,
    hub_document,
    machine_names,
)
from millstream.torture._verdict import Evidence, judge

MACHINES, RATE = 3, 20.0
CYCLE_S = (1.5, 3.5)  # between a boot and the cut
QUIET_TIMEOUT_S = 60.0
POLL_S = 0.1
LAZY, PLAIN, INTEGRITY = "throughput class (lazily synced)", "paho + mosquitto", "integrity class"


@dataclass(slots=True)
class Tally:
    """One service over all cuts, in messages. `acked` is what producers were told is safe."""

    service: str
    acked: int = 0
    survived: int = 0
    lost: int = 0
    duplicated: int = 0


@dataclass(slots=True)
class _Bench:
    folder: Path
    disk: PowerCutDisk
    plan: SitePlan
    broker: PlainBroker | None
    say: Progress
    devices: list[Child] = field(default_factory=list)
    nodes: dict[str, Child] = field(default_factory=dict)
    node: Mapping[str, Any] = field(default_factory=dict)
    hub_node: Mapping[str, Any] = field(default_factory=dict)
    lazy: LazyWriter = field(default_factory=LazyWriter)

    def ledger(self, name: str) -> Path:
        """A device's ledger, which is on another disk."""
        return self.folder / f"{name}.ledger"


async def run_power(folder: Path, *, cycles: int, seed: int, say: Progress) -> dict[str, Any]:
    """Cut the power `cycles` times. Raises PlantError when this machine cannot do it."""
    clock, chance = SystemClock(), seeded(seed)
    begun_ns = clock.monotonic_ns()
    ports = free_ports(3)
    reason = why_no_broker()
    async with PowerCutDisk(folder) as disk, AsyncExitStack() as stack:
        secret = write_private(folder / "edge.secret", new_secret())
        plan = SitePlan(
            disk.path,
            tuple(machine_names(MACHINES)),
            ports[0],
            secret,
            ports[2],
            ports[2],
            integrity_bytes="64MiB",
            edge_flows=edge_flows(),
            hub_flows=hub_flows(),
        )
        broker = PlainBroker(disk.path / "mosquitto", folder, ports[1]) if reason is None else None
        bench = _Bench(folder, disk, plan, broker, say)
        stack.push_async_callback(_end, bench)
        await _boot(bench)
        await _start_devices(bench, ports, seed)
        for cycle in range(cycles):
            low, high = CYCLE_S
            await _cut_once(bench, low + (high - low) * chance.random())
            say.say(f"power cut {cycle + 1} of {cycles}")
        await _quiet(bench)
        truth = read_ledger(bench.ledger("edge-barriers"))
        verdict = judge(await _evidence(bench, truth))
        tallies = [_ours(verdict, truth), await _lazy(bench), *([_plain(bench)] if broker is not None else [])]
        if broker is None:
            say.say(f"without the comparison: {reason}")
    return _result(tallies, verdict, seed=seed, cycles=cycles, seconds=(clock.monotonic_ns() - begun_ns) / 1e9)


def _result(
    tallies: list[Tally], verdict: Mapping[str, Any], *, seed: int, cycles: int, seconds: float
) -> dict[str, Any]:
    controls = tallies[1:]
    return {
        "seed": seed,
        "power_cuts": cycles,
        "services": [asdict(t) for t in tallies],
        **verdict,
        "is_control_failing": any(t.lost for t in controls),
        "seconds": round(seconds, 1),
    }


async def _boot(bench: _Bench) -> None:
    documents = {"hub": hub_document(bench.plan), "edge": edge_document(bench.plan)}
    for role, document in documents.items():
        path = bench.folder / f"{role}.yaml"
        write_document(path, document)
        file = bench.disk.path / role / "node.json"
        file.unlink(missing_ok=True)  # an old one tells of the run before
        bench.nodes[role] = await Child.start(role, ["millstream", role, "-c", str(path)], bench.folder)
        node = await bench.nodes[role].wait_file(file)
        if role == "edge":
            bench.node = node
        else:
            bench.hub_node = node
    if bench.broker is not None:
        await bench.broker.start()


async def _start_devices(bench: _Bench, ports: list[int], seed: int) -> None:
    password = write_private(bench.folder / "mqtt.secret", str(bench.node["mqtt_password"]))
    login = ["--user", str(bench.node["mqtt_user"]), "--password-file", str(password)]
    targets = {"edge-barriers": (ports[0], login)}
    if bench.broker is not None:
        targets["plain-barriers"] = (ports[1], [])
    for name, (port, extra) in targets.items():
        arguments = barrier_arguments(port, bench.ledger(name), machines=MACHINES, rate=RATE, seed=seed)
        child = await Child.start(name, [*arguments, *extra], bench.folder, is_told=True)
        bench.devices.append(child)
        await child.wait_ready()
        child.signal(signal.SIGUSR2)


async def _cut_once(bench: _Bench, after_s: float) -> None:
    writing = asyncio.ensure_future(bench.lazy.run(bench.node, bench.disk.path / "edge"))
    try:
        await asyncio.wait([writing], timeout=after_s)
        processes = [process for node in bench.nodes.values() for process in family(node)]
        for process in reversed(processes):  # the server first: what it has sent until now, it has synced
            strike(process, signal.SIGSTOP)
        if bench.broker is not None:
            bench.broker.signal(signal.SIGSTOP)
        bench.disk.cut()
        for process in processes:
            strike(process, signal.SIGKILL)
        for node in bench.nodes.values():
            await node.kill()
        if bench.broker is not None:
            await bench.broker.kill()
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError, PlantError):
            await writing
    await bench.disk.restore()
    await _boot(bench)


async def _quiet(bench: _Bench) -> None:
    """Stop the machines; wait until every part is acknowledged and what reads them has come to the end."""
    for child in bench.devices:
        child.signal(signal.SIGUSR1)
    followers = [LedgerFollower(path) for path in sorted(bench.folder.glob("*.ledger"))]
    try:
        async with asyncio.timeout(QUIET_TIMEOUT_S):
            while not all(follower.look().is_final for follower in followers):
                await asyncio.sleep(POLL_S)
            truth = read_ledger(bench.ledger("edge-barriers"))
            while await _behind(bench, truth):
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        bench.say.say("not everything that was acknowledged has appeared in time")
    if bench.broker is not None and bench.broker.counter is not None:
        await bench.broker.counter.stop()  # it saves its counts when it ends in order


async def _behind(bench: _Bench, truth: Truth) -> bool:
    """True while a sink lacks parts."""
    evidence = await _evidence(bench, truth)
    numbers = [rows for path, rows in evidence.history.items() if path.endswith(":barrier")]
    rows = sum(len({o.value for o in each}) for each in numbers)
    return rows < truth.made_count or int(judge(evidence)["parts_counted"]) < truth.made_count


async def _evidence(bench: _Bench, truth: Truth) -> Evidence:
    return await gather(bench.node, bench.hub_node, truth, bench.plan.machines)


def _ours(report: Mapping[str, Any], truth: Truth) -> Tally:
    acked, lost = truth.acked_count, int(report["lost"])
    return Tally(INTEGRITY, acked, max(0, acked - lost), lost, int(report["duplicated"]))


async def _lazy(bench: _Bench) -> Tally:
    try:
        samples = await read_stream(bench.node, STREAM)
    except NotFoundError:
        samples = {}
    values = [o.value for o in samples.get(("_tag", PATH), [])]
    kept = set(values) & bench.lazy.acked
    acked = len(bench.lazy.acked)
    return Tally(LAZY, acked, len(kept), acked - len(kept), len(values) - len(set(values)))


def _plain(bench: _Bench) -> Tally:
    assert bench.broker is not None
    acked = read_ledger(bench.ledger("plain-barriers")).acked_count
    counted = bench.broker.counted
    return Tally(PLAIN, acked, min(acked, counted), max(0, acked - counted), max(0, counted - acked))


async def _end(bench: _Bench) -> None:
    for child in bench.devices:
        await child.stop()
    for node in bench.nodes.values():
        await node.stop()
    if bench.broker is not None:
        await bench.broker.stop()
    for role in bench.nodes:  # the disk goes, the folder may be kept
        log = bench.disk.path / role / "server" / "nats-server.log"
        if log.exists():
            await asyncio.to_thread(shutil.copy, log, bench.folder / f"{role}-server.log")
