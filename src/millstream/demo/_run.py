"""The demo's course: start a hub, an edge and a plant; cut the uplink; stop the plant; let it drain; account."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millstream.client import Plant, account_from, connect
from millstream.demo._account import TagAccount, exit_status, samples_at_edge, samples_at_hub, totals
from millstream.demo._history import device_accounts
from millstream.demo._options import DemoOptions
from millstream.demo._plant import (
    DEVICES,
    MODBUS,
    MQTT,
    WAVEFORM,
    Device,
    edge_document,
    hub_document,
)
from millstream.demo._report import print_ledger
from millstream.demo._shop import facts, flows
from millstream.kernel import PlantError, SystemClock, Unreachable
from millstream.protocols.ledger import OriginAccount
from millstream.rig import Child, Progress, new_secret, percentile, write_document, write_private
from millstream.sim import FaultProxy

DRAIN_TIMEOUT_S = 60.0
QUIET_POLLS = 3  # in a row with equal counts everywhere
ARRIVAL_S_MAX = 30.0  # what the devices produced last is on its way so long; what is not there then is lost
POLL_S = 0.25
ANSWER_S_MAX = 60.0  # a node on a busy machine may miss questions for so long
AGES_COUNT_MAX = 1_000_000  # live samples whose age is kept; a demo of minutes makes fewer

Counts = tuple[int, int, int]
"""Samples at the edge, at the hub, and in the historian."""


@dataclass(slots=True)
class Course:
    """What is known of a run as it goes on."""

    options: DemoOptions
    folder: Path
    say: Progress
    clock: SystemClock = field(default_factory=SystemClock)
    children: list[Child] = field(default_factory=list)
    ages_ms: list[float] = field(default_factory=list)
    catch_up_s: float = 0.0
    edge_rss_mb: float = 0.0

    def elapsed(self, since_ns: int) -> float:
        """Seconds since a monotonic time."""
        return (self.clock.monotonic_ns() - since_ns) / 1e9

    async def start(self, name: str, arguments: list[str]) -> Child:
        """Start a child that is stopped with the course."""
        child = await Child.start(name, arguments, self.folder)
        self.children.append(child)
        return child


async def run_demo(options: DemoOptions) -> int:
    """Run it and print; 0 only when nothing is lost and nothing is doubled."""
    folder = options.keep or Path(tempfile.mkdtemp(prefix="millstream-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    course = Course(options, folder.resolve(), Progress())
    try:
        result, devices = await _course(course)
    finally:
        for child in reversed(course.children):
            await child.stop()
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print_ledger(devices, result, to_stderr=options.is_json)
    if options.is_json:
        print(json.dumps(result))  # noqa: T201  (standard output is the data)
    return exit_status(result)


async def _course(course: Course) -> tuple[dict[str, Any], dict[str, list[TagAccount]]]:
    say = course.say.say
    secret = write_private(course.folder / "edge.secret", new_secret())
    hub_node = await _start_node(course, "hub", hub_document(course.folder, secret), "api_url")
    say("hub is up: nats-server, sources, historian")
    _tell_console(course, hub_node)
    async with FaultProxy("127.0.0.1", int(hub_node["leaf_port"])) as proxy:
        devices = await _start_devices(course)
        ready = {device.name: child.ready for device, child in devices.items()}
        start_ns = course.clock.now_ns()
        document = edge_document(course.folder, secret, proxy.port, ready, flows(start_ns))
        edge_node = await _start_node(course, "edge", document)
        devices[MQTT] = await _start_mqtt(course, edge_node)
        say(f"edge is up as leaf of the hub; {len(devices)} devices and a recorded waveform feed it")
        async with connect(node=course.folder / "hub") as hub, connect(node=course.folder / "edge") as edge:
            await edge.context.put(facts(start_ns), who="demo")
            await _wait_connected(course, edge)
            async with _watch_live(course, hub):
                for child in devices.values():
                    child.signal(signal.SIGUSR2)
                await _produce(course, hub, edge, proxy)
                for child in devices.values():
                    child.signal(signal.SIGUSR1)
                say("the devices have stopped; waiting until the last sample is in the historian")
                truth = {device.name: await _truth(course, device) for device in devices}
                await _arrive(course, hub, edge, truth)
                await devices[MODBUS].stop()
                counts = await _drain(course, hub, edge)
            status = await _status(edge)
            course.edge_rss_mb = float(status["rss_mb"])
            accounts = await device_accounts(hub, truth)
            return await _result(course, hub, counts, accounts), accounts


def _tell_console(course: Course, hub_node: Mapping[str, Any]) -> None:
    """Where a browser sees the plant. The token stands behind the #, which no browser sends anywhere."""
    if not hub_node.get("has_console"):
        return course.say.say("no console: it is not built; `make console` does that where there is npm")
    token = (course.folder / "hub" / "secrets" / "api.token").read_text(encoding="ascii").strip()
    return course.say.say(f"console: {hub_node['api_url']}/#token={token}")


async def _start_node(course: Course, role: str, document: dict[str, Any], field: str = "role") -> Mapping[str, Any]:
    path = course.folder / f"{role}.yaml"
    write_document(path, document)
    child = await course.start(role, ["millstream", role, "-c", str(path)])
    return await child.wait_file(course.folder / role / "node.json", field)


async def _start_devices(course: Course) -> dict[Device, Child]:
    children = {device: await course.start(device.name, device.command(course.folder)) for device in DEVICES}
    await asyncio.gather(*(child.wait_ready() for child in children.values()))
    return children


async def _start_mqtt(course: Course, edge_node: Mapping[str, Any]) -> Child:
    password = write_private(course.folder / "mqtt.secret", str(edge_node["mqtt_password"]))
    arguments = [
        MQTT.module, "--host", "127.0.0.1",
        "--port", str(edge_node["mqtt_port"]), "--user", str(edge_node["mqtt_user"]),
        "--password-file", str(password), *MQTT.arguments, "--paused",
        "--truth", str(MQTT.truth_file(course.folder)),
    ]  # fmt: skip
    child = await course.start(MQTT.name, arguments)
    await child.wait_ready()
    return child


async def _status(plant: Plant, patience_s: float = ANSWER_S_MAX) -> Mapping[str, Any]:
    """The status of the node that `plant` is connected to. On a busy machine it may miss a question: it is asked again
    for as long as `patience_s`. Raises Unreachable."""
    clock = SystemClock()
    until_ns = clock.monotonic_ns() + int(patience_s * 1e9)
    while True:
        with suppress(Unreachable):
            for node in await plant.status():
                if node.get("name") == plant.node.name:
                    return node
        if clock.monotonic_ns() >= until_ns:
            raise Unreachable("the node does not answer", where=plant.node.name, code="MS-0690")
        await asyncio.sleep(POLL_S)


async def _origins(hub: Plant, patience_s: float = ANSWER_S_MAX) -> Mapping[str, OriginAccount]:
    """The hub's recount, by edge stream; what the hub stored itself is not the plant's. Raises Unreachable."""
    told = (await _status(hub, patience_s)).get("ledger") or {}
    return {name: account_from(raw) for name, raw in told.items() if name.startswith("E_")}


async def _wait_connected(course: Course, edge: Plant) -> None:
    """Every connector has an open session and the uplink flows."""
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while True:
                status = await _status(edge)
                waiting = [c["name"] for c in status["connectors"] if c["state"] not in ("connected", "ended")]
                if not waiting:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise PlantError(
            "connectors did not connect",
            got=", ".join(waiting),
            next_step="run with --keep and read edge.log",
            code="MS-0690",
        ) from error


@asynccontextmanager
async def _watch_live(course: Course, hub: Plant) -> AsyncIterator[None]:
    """Note the age of each live value as it arrives at the hub."""

    async def note() -> None:
        async for reading in hub.live("**"):
            if reading.ingest_ns and len(course.ages_ms) < AGES_COUNT_MAX:
                course.ages_ms.append((course.clock.now_ns() - reading.ingest_ns) / 1e6)

    task = asyncio.get_running_loop().create_task(note())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _produce(course: Course, hub: Plant, edge: Plant, proxy: FaultProxy) -> None:
    options, started_ns = course.options, course.clock.monotonic_ns()
    cut_at_s = max(1.0, (options.for_s - options.cut_s) * 0.4) if options.cut_s else None
    next_line_s = 2.0
    while (elapsed_s := course.elapsed(started_ns)) < options.for_s:
        if cut_at_s is not None and elapsed_s >= cut_at_s:
            cut_at_s = None
            await _cut(course, hub, edge, proxy)
        if elapsed_s >= next_line_s:
            next_line_s = elapsed_s + 2.0
            with suppress(Unreachable):  # nodes that are busy for once: the next line tells
                await _progress_line(course, hub, edge, elapsed_s)
        await asyncio.sleep(0.1)


async def _cut(course: Course, hub: Plant, edge: Plant, proxy: FaultProxy) -> None:
    say = course.say.say
    proxy.cut()
    say(f"[bold]uplink cut[/] for {course.options.cut_s:g} s; the plant keeps producing, the edge keeps storing")
    cut_ns = course.clock.monotonic_ns()
    while course.elapsed(cut_ns) < course.options.cut_s:
        await asyncio.sleep(min(2.0, course.options.cut_s))
        with suppress(Unreachable):
            say(f"  cut: {await _behind(hub, edge):,} messages wait at the edge")
    proxy.restore()
    restored_ns = course.clock.monotonic_ns()
    goal = await _stream_ends(edge)
    say("[bold]uplink restored[/]; the hub reads on from its cursor")
    while not _reached(await _origins(hub), goal):
        if course.elapsed(restored_ns) > DRAIN_TIMEOUT_S:
            raise PlantError("the hub did not catch up", next_step="run with --keep and read hub.log", code="MS-0690")
        await asyncio.sleep(0.05)
    course.catch_up_s = course.elapsed(restored_ns)
    say(f"caught up {course.catch_up_s:.1f} s after the link was back")


async def _stream_ends(edge: Plant, patience_s: float = ANSWER_S_MAX) -> dict[str, int]:
    status = await _status(edge, patience_s)
    return {s["name"]: int(s["last_seq"]) for s in status["streams"] if not s["name"].endswith(("_MQTT", "_DLQ"))}


def _reached(origins: Mapping[str, OriginAccount], goal: Mapping[str, int]) -> bool:
    return all(last == 0 or (name in origins and origins[name].last_seq >= last) for name, last in goal.items())


async def _behind(hub: Plant, edge: Plant) -> int:
    ends, origins = await _stream_ends(edge, 0), await _origins(hub, 0)
    return sum(max(0, last - (origins[name].last_seq if name in origins else 0)) for name, last in ends.items())


async def _progress_line(course: Course, hub: Plant, edge: Plant, elapsed_s: float) -> None:
    at_hub = samples_at_hub((await _origins(hub, 0)).values())  # first, so that it is never ahead
    status, ledger = await _status(edge, 0), await edge.ledger()
    at_edge = samples_at_edge(status, ledger.rows)
    age = percentile(course.ages_ms[-2000:], 0.99)
    course.say.say(
        f"{elapsed_s:5.0f} s  edge {at_edge:>9,}  hub {at_hub:>9,} samples  "
        f"live age p99 {'-' if age is None else f'{age:.0f} ms'}  edge memory {status['rss_mb']:.0f} MB"
    )


async def _truth(course: Course, device: Device) -> dict[str, int]:
    """The device's own final count, once it says that it is final."""
    async with asyncio.timeout(DRAIN_TIMEOUT_S):
        while True:
            try:
                document = json.loads(device.truth_file(course.folder).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                document = {}
            if document.get("final"):
                return {str(k): int(v) for k, v in document["produced"].items()}
            await asyncio.sleep(0.05)


async def _arrive(course: Course, hub: Plant, edge: Plant, truth: Mapping[str, Mapping[str, int]]) -> None:
    """Wait until the historian holds what the devices produced. On a busy machine their last values are still between
    a device and the edge when all behind it is long level, and a polled device has to be there to be read."""
    started_ns = course.clock.monotonic_ns()
    while course.elapsed(started_ns) < ARRIVAL_S_MAX:
        if await _is_replayed(edge):
            accounts = await device_accounts(hub, truth)
            if totals([a for group in accounts.values() for a in group], [])["lost"] == 0:
                return
        await asyncio.sleep(POLL_S)


async def _is_replayed(edge: Plant) -> bool:
    return all(c["state"] == "ended" for c in (await _status(edge))["connectors"] if c["name"] == WAVEFORM)


async def _drain(course: Course, hub: Plant, edge: Plant) -> Counts:
    """Wait until edge, hub and historian hold the same number of samples, and give these numbers. The polled device is
    gone, which never falls silent: what remains of it is one bad-quality sample a tag, which says that the link is
    lost. Flows go on: their figures of the running shift come once a minute, also when nothing comes in."""
    started_ns, quiet_count, before = course.clock.monotonic_ns(), 0, -1
    while course.elapsed(started_ns) < DRAIN_TIMEOUT_S:
        await asyncio.sleep(POLL_S)
        counts = await _counts(hub, edge)
        is_level = len(set(counts)) == 1 and counts[0] == before
        quiet_count = quiet_count + 1 if is_level and await _is_replayed(edge) else 0
        if quiet_count >= QUIET_POLLS:
            return counts
        before = counts[0]
    course.say.say("[bold]not everything arrived in time[/]; the ledger shows what is missing")
    return await _counts(hub, edge)


async def _counts(hub: Plant, edge: Plant) -> Counts:
    """Samples at the edge (as its publishers and flows tell), at the hub (recounted), in the historian (rows)."""
    ledger = await edge.ledger()
    return (
        samples_at_edge(await _status(edge), ledger.rows),
        samples_at_hub((await _origins(hub)).values()),
        int((await _status(hub))["historian"]["rows"]),
    )


async def _result(
    course: Course, hub: Plant, counts: Counts, accounts: Mapping[str, list[TagAccount]]
) -> dict[str, Any]:
    at_edge, at_hub, in_historian = counts
    age = percentile(course.ages_ms, 0.99)
    return {
        "samples_edge": at_edge,
        "samples_hub": at_hub,
        "samples_historian": in_historian,
        **totals([a for group in accounts.values() for a in group], list((await _origins(hub)).values())),
        "cut_s": course.options.cut_s,
        "catch_up_s": round(course.catch_up_s, 2),
        "live_age_p99_ms": None if age is None else round(age, 1),
        "edge_rss_mb": round(course.edge_rss_mb, 1),
        "live_samples": len(course.ages_ms),
        "is_level": at_edge == at_hub == in_historian,
        "devices": {name: _summed(group) for name, group in accounts.items()},
    }


def _summed(group: list[TagAccount]) -> dict[str, int]:
    return {
        key: sum(getattr(account, key) for account in group)
        for key in ("produced", "stored", "lost", "duplicated", "out_of_order")
    }
