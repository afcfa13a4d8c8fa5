"""The course of a run: start a site, let the plan's faults come, let it come to rest, compare with the truth."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from millstream.bus import HUB_INTEGRITY
from millstream.client import connect
from millstream.kernel import Clock, PlantError, SystemClock
from millstream.rig import Child, Progress, new_secret, percentile, write_document, write_private
from millstream.sim import FaultProxy
from millstream.sim.producer_ledger import LedgerFollower, Truth
from millstream.torture._broker import PlainBroker, why_no_broker
from millstream.torture._faults import Injector
from millstream.torture._gather import gather
from millstream.torture._keeper import Keeper
from millstream.torture._links import Links
from millstream.torture._plan import Fault, make_plan
from millstream.torture._reference import edge_flows, hub_flows
from millstream.torture._site import (
    SITE,
    SitePlan,
    barrier_arguments,
    edge_document,
    free_ports,
    hub_document,
    machine_names,
)
from millstream.torture._verdict import judge
from millstream.torture._watch import Watch

MACHINES, RATE = 3, 10.0
UPLINK_BYTES = "16MiB"  # the edge's bound: small, so that it can be reached
REST_TIMEOUT_S = 90.0  # after the last fault: all acknowledged, forwarded, counted and in the history, or it failed
POLL_S = 0.25
LEVEL_LOOKS = 5  # in a row that show the same
_BEFORE_WORK = ("new", "opening", "waiting")  # a connector that may have something to say yet
BARRIERS, PLAIN, ADAPTER = "barriers", "plain-barriers", "mazak1"


@dataclass(slots=True)
class Course:
    """What a run works with."""

    folder: Path
    seed: int
    for_s: float
    plan: list[Fault]
    say: Progress
    clock: Clock = field(default_factory=SystemClock)
    devices: dict[str, Child] = field(default_factory=dict)

    def ledger(self, name: str) -> Path:
        """A device's own ledger."""
        return self.folder / f"{name}.ledger"


async def run_faults(folder: Path, *, for_s: float, seed: int, kinds: tuple[str, ...], say: Progress) -> dict[str, Any]:
    """Torture one site; the report. Raises PlantError when it cannot be started."""
    course = Course(folder, seed, for_s, make_plan(seed, for_s, kinds), say)
    async with AsyncExitStack() as stack:
        return await _course(course, stack)


async def _course(course: Course, stack: AsyncExitStack) -> dict[str, Any]:
    clock, begun_ns = course.clock, course.clock.monotonic_ns()
    ports = free_ports(3)
    leaf_port, mqtt_port, plain_port = ports
    uplink = await stack.enter_async_context(FaultProxy("127.0.0.1", leaf_port))
    door = await stack.enter_async_context(FaultProxy("127.0.0.1", mqtt_port))
    stack.push_async_callback(_stop_devices, course)
    adapter = await _start_adapter(course)
    keeper = await _start_nodes(course, stack, leaf_port, mqtt_port, uplink.port, adapter)
    broker = await _start_plain(course, stack, plain_port)
    await _start_barriers(course, keeper.node("edge"), door.port, plain_port if broker is not None else None)
    course.say.say(f"seed {course.seed}: {len(course.plan)} faults in {course.for_s:g} s")
    watch = Watch(machine_names(MACHINES), LedgerFollower(course.ledger(BARRIERS)), clock)
    links = Links({"uplink": uplink, "devices": door}, {"uplink": leaf_port, "devices": mqtt_port})
    injector = Injector(keeper, links, course.devices[BARRIERS], broker, clock, watch.is_over)
    async with _beside(keeper.run(), watch.run(keeper.node("hub"))):
        for device in course.devices.values():
            device.signal(signal.SIGUSR2)
        await injector.run(course.plan)
        for device in course.devices.values():
            device.signal(signal.SIGUSR1)
        rest_ns = clock.monotonic_ns()
        course.say.say("the faults are over; waiting until everything is counted")
        is_at_rest = await _come_to_rest(course, keeper, watch)
        rest_s = (clock.monotonic_ns() - rest_ns) / 1e9
        evidence = await gather(
            keeper.node("edge"), keeper.node("hub"), watch.follower.look(), machine_names(MACHINES),
            adapter=f"{SITE}/{ADAPTER}:adapter_seq", adapter_lines=await _adapter_truth(course),
        )  # fmt: skip
    report = judge(evidence)
    report["is_equal"] = bool(report["is_equal"]) and is_at_rest and not keeper.failures
    return {
        "seed": course.seed,
        "for_s": course.for_s,
        "faults": dict(sorted(injector.done.items())),
        "faults_missed": dict(sorted(injector.missed.items())),
        **report,
        "recovery_s_p99": _rounded(percentile(watch.recoveries_s, 0.99)),
        "recovery_s_p50": _rounded(percentile(watch.recoveries_s, 0.5)),
        "unrecovered": len(watch.waiting),
        "is_at_rest": is_at_rest,
        "rest_s": round(rest_s, 1),
        "node_restarts": keeper.restarts,
        "node_failures": keeper.failures,
        "comparison": await _comparison(course, broker),
        "seconds": round((clock.monotonic_ns() - begun_ns) / 1e9, 1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


@asynccontextmanager
async def _beside(*work: Any) -> AsyncIterator[None]:
    """Run these beside the block, and end them with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        yield
        for task in tasks:
            task.cancel()


# -- starting ---------------------------------------------------------------------------------------------------------


async def _start_adapter(course: Course) -> Child:
    """A source that cannot rewind, and that counts its own lines."""
    truth = course.folder / f"{ADAPTER}.truth.json"
    arguments = ["millstream.sim.shdr_adapter", "--port", "0", "--speed", "10", "--paused", "--truth", str(truth)]
    child = course.devices[ADAPTER] = await Child.start(ADAPTER, arguments, course.folder)
    await child.wait_ready()
    return child


async def _start_nodes(
    course: Course, stack: AsyncExitStack, leaf_port: int, mqtt_port: int, uplink_port: int, adapter: Child
) -> Keeper:
    plan = SitePlan(
        course.folder, tuple(machine_names(MACHINES)), mqtt_port,
        write_private(course.folder / "edge.secret", new_secret()), leaf_port, uplink_port, UPLINK_BYTES,
        connectors=[_adapter_connector(int(adapter.ready["port"]))], edge_flows=edge_flows(), hub_flows=hub_flows(),
    )  # fmt: skip
    write_document(course.folder / "hub.yaml", hub_document(plan))
    write_document(course.folder / "edge.yaml", edge_document(plan))
    keeper = Keeper(course.folder)
    stack.push_async_callback(keeper.stop)
    await keeper.start(("hub", "edge"))
    return keeper


def _adapter_connector(port: int) -> dict[str, Any]:
    return {
        "name": ADAPTER,
        "type": "mtconnect",
        "path": ADAPTER,
        "config": {
            "mode": "shdr",
            "host": "127.0.0.1",
            "port": port,
            "devices_file": str(files("millstream.sim").joinpath("data", "mazak01-devices.xml")),
            "sequence_item": "adapter_seq",
        },
        "tags": [{"name": "adapter_seq", "address": "adapter_seq"}],
    }


async def _start_plain(course: Course, stack: AsyncExitStack, port: int) -> PlainBroker | None:
    reason = why_no_broker()
    if reason is not None:
        course.say.say(f"without the comparison: {reason}")
        return None
    broker = PlainBroker(course.folder / "mosquitto", course.folder, port)
    stack.push_async_callback(broker.stop)
    await broker.start()
    return broker


async def _start_barriers(course: Course, edge: Mapping[str, Any], port: int, plain_port: int | None) -> None:
    password = write_private(course.folder / "mqtt.secret", str(edge["mqtt_password"]))
    login = ["--user", str(edge["mqtt_user"]), "--password-file", str(password)]
    targets: dict[str, tuple[int, list[str]]] = {BARRIERS: (port, login)}
    if plain_port is not None:
        targets[PLAIN] = (plain_port, [])
    for name, (at, extra) in targets.items():
        arguments = barrier_arguments(at, course.ledger(name), machines=MACHINES, rate=RATE, seed=course.seed)
        child = course.devices[name] = await Child.start(name, [*arguments, *extra], course.folder, is_told=True)
        await child.wait_ready()


async def _stop_devices(course: Course) -> None:
    for child in course.devices.values():
        await child.stop()


# -- the end ----------------------------------------------------------------------------------------------------------


async def _come_to_rest(course: Course, keeper: Keeper, watch: Watch) -> bool:
    """True once every part is acknowledged, counted at the hub and in the history, within the bound."""
    try:
        async with asyncio.timeout(REST_TIMEOUT_S):
            while not watch.follower.look().is_final or watch.counted_parts < watch.follower.truth.made_count:
                await asyncio.sleep(POLL_S)
            seen: list[tuple[int, ...] | None] = [None]
            while len(seen) <= LEVEL_LOOKS or seen[-1] is None or len(set(seen[-LEVEL_LOOKS:])) > 1:
                await asyncio.sleep(POLL_S)
                seen.append(await _level(keeper))
    except TimeoutError:
        course.say.say("[bold]not everything was counted in time[/]; the report tells what is missing")
        return False
    return True


async def _level(keeper: Keeper) -> tuple[int, ...] | None:
    try:
        return level_of(await _status(keeper, "edge"), await _status(keeper, "hub"))
    except PlantError:
        return None


def level_of(edge: Mapping[str, Any], hub: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Where everything stands by the nodes' statuses, once each connector is at work and all that it gave is stored,
    the hub has all that the edge has, and the historian all that the hub has; else None."""
    if any(c["state"] in _BEFORE_WORK or c["units_unanswered"] for c in edge["connectors"]):
        return None
    ends = {s["name"]: int(s["last_seq"]) for s in (*edge["streams"], *hub["streams"])}
    positions = {p["stream"]: int(p["position"]) for p in hub["historian"]["streams"]}
    is_behind = int(edge["uplink"].get("behind_messages") or 0) > 0 or positions[HUB_INTEGRITY] < ends[HUB_INTEGRITY]
    return None if is_behind else tuple(ends[name] for name in sorted(ends))


async def _status(keeper: Keeper, role: str) -> Mapping[str, Any]:
    node = keeper.node(role)
    url, user, password = (str(node[name]) for name in ("nats_url", "user", "password"))
    async with connect(url=url, user=user, password=password) as plant:
        for found in await plant.status():
            if found.get("role") == role:
                return found
    raise PlantError("the node does not answer", where=role, code="MS-0690")


async def _adapter_truth(course: Course) -> int:
    raw = await asyncio.to_thread((course.folder / f"{ADAPTER}.truth.json").read_text, "utf-8")
    truth = json.loads(raw)
    return int(truth["lines"])


async def _comparison(course: Course, broker: PlainBroker | None) -> dict[str, Any] | None:
    if broker is None:
        return None
    follower = LedgerFollower(course.ledger(PLAIN))
    try:
        async with asyncio.timeout(REST_TIMEOUT_S):
            while not follower.look().is_final:
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        course.say.say("the comparison did not come to rest")
    if broker.counter is not None:
        await broker.counter.stop()  # in order, so that it saves all that it has
    return compare_counts(follower.truth, broker.counted)


def compare_counts(truth: Truth, counted: int) -> dict[str, Any]:
    """The plain service in one line. A loss and a repeat may cancel out in a bare count, which is all that it has."""
    made = truth.made_count
    return {
        "service": "paho + mosquitto",
        "parts_true": made,
        "parts_counted": counted,
        "lost": max(0, made - counted),
        "duplicated": max(0, counted - made),
    }
