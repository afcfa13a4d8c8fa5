"""An edge and a hub with a cut uplink between them: how soon is the hub level again, and do live values stay fresh?

    python -m bench outage [--json] [--short] [--class integrity|throughput] [--rate 15000] [--cut 60]

The load is a publisher of its own on the edge's stream; the uplink goes through the fault proxy and is closed. Every
live value is subscribed at the hub and its age taken at arrival, in the whole time from the repair until the hub is
level. Then the hub's stream is read and must hold each value once, in order.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec

from bench._nodes import Rig, open_rig, plain_connection, poll
from bench._report import Row, digest, finish, parser
from bench.outage._live import read_ages
from bench.outage._load import LEDGER, Load
from millstream.bus import FastIngestPublisher, GroupCommitPublisher, RawConnection, StreamApi, StreamReader
from millstream.protocols.uns_payload import SampleRecord
from millstream.rig import Child

CATCH_UP_S_MAX, AGE_P99_MS_MAX = 10.0, 1000.0
_TARGET = f"under {CATCH_UP_S_MAX:g} s, under {AGE_P99_MS_MAX:g} ms"
BEFORE_S = 5.0  # of load before the cut
SITE = "acme/plant1"
_decoder = msgspec.json.Decoder(SampleRecord)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `kind` is the class of durability."""

    kind: str
    rate: int
    before_s: float
    cut_s: float


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("outage", __doc__ or "")
    options.add_argument("--class", dest="kind", choices=("integrity", "throughput"), action="append")
    options.add_argument("--rate", type=int, default=15_000, help="messages a second")
    options.add_argument("--cut", type=float, default=60.0, help="seconds")
    chosen = options.parse_args(argv)
    kinds = chosen.kind or ["integrity", "throughput"]
    plans = [Plan(kind, chosen.rate, BEFORE_S, chosen.cut) for kind in kinds]
    if chosen.short:
        plans = [Plan(kind, 500, 1.0, 1.0) for kind in kinds]
    rows = [_one(plan, is_short=chosen.short) for plan in plans]
    return finish("outage", argv, rows, chosen)


def _one(plan: Plan, *, is_short: bool) -> Row:
    """What did not happen in time is a result too."""
    try:
        return asyncio.run(run(plan, is_short=is_short))
    except SystemExit as error:
        return Row(_measure(plan), str(error).removeprefix("bench: "), _TARGET, is_met=False, result_hash=digest([]))


async def run(plan: Plan, *, is_short: bool) -> Row:
    """One outage."""
    async with open_rig() as rig, AsyncExitStack() as scopes:
        hub_node, edge_node, uplink = await _start(rig)
        at_edge = await scopes.enter_async_context(plain_connection(edge_node))
        at_hub = await scopes.enter_async_context(plain_connection(hub_node))
        letter = plan.kind[0].upper()
        edge_stream, hub_stream = f"E_plant1_{letter}", f"H_{plan.kind.upper()}"
        edge = StreamApi(at_edge, str(edge_node["domain"]))
        hub = StreamApi(at_hub, str(hub_node["domain"]))
        publisher = _publisher(plan.kind, at_edge, edge_stream, edge_node)
        await scopes.enter_async_context(publisher)
        load, out = Load(publisher, plan.rate), rig.folder / "ages"
        listener = await rig.start("listener", ["bench.outage._live", str(rig.folder / "hub" / "node.json"), str(out)])
        await listener.wait_ready()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(load.run())
            times = await _course(plan, uplink, edge, hub, (edge_stream, hub_stream))
            load.stop()
            await running
        await listener.stop()
        goal = (await edge.state(edge_stream)).last_seq

        async def is_level() -> bool:
            return (await hub.state(hub_stream)).last_seq >= goal

        await poll(is_level, timeout_s=120, what="a level hub")
        values = await _values(at_hub, hub_stream, str(hub_node["domain"]), goal)
        ages = read_ages(out)
    return _row(plan, times, ages, values, load.sent, is_short=is_short)


async def _start(rig: Rig) -> tuple[Mapping[str, Any], Mapping[str, Any], Child]:
    secret = rig.folder / "edge.secret"
    secret.touch(mode=0o600)
    secret.write_text("bench-only-loopback-secret", encoding="ascii")
    bounds = {"max_bytes": "2GB"}
    hub_document = {
        "hub": {"name": "hub", "data_dir": str(rig.folder / "hub")}, "streams": bounds,
        "edges": [{"name": "plant1", "path": SITE, "secret": {"file": str(secret)}}], "historian": {}, "api": {},
    }  # fmt: skip
    _, hub_node = await rig.start_node("hub", hub_document)
    uplink = await rig.start("uplink", ["bench.outage._uplink", str(hub_node["leaf_port"])])
    await uplink.wait_ready()
    edge_document = {
        "edge": {"name": "plant1", "path": SITE, "data_dir": str(rig.folder / "edge")},
        "uplink": {"url": f"nats://127.0.0.1:{uplink.ready['port']}", "secret": {"file": str(secret)}},
        "streams": {"integrity": bounds, "throughput": bounds}, "connectors": [],
    }  # fmt: skip
    _, edge_node = await rig.start_node("edge", edge_document)
    return hub_node, edge_node, uplink


def _publisher(
    kind: str, connection: RawConnection, stream: str, node: Mapping[str, Any]
) -> GroupCommitPublisher | FastIngestPublisher:
    domain = str(node["domain"])
    if kind == "integrity":
        return GroupCommitPublisher(connection, stream, ledger_subject=LEDGER, domain=domain)
    return FastIngestPublisher(connection, stream, ledger_subject=LEDGER, domain=domain, publish_prefix="fast.")


@dataclass(slots=True)
class Times:
    """Seconds of the loop's clock, and what waited at the edge when the link came back."""

    cut: float = 0.0
    restored: float = 0.0
    caught_up: float = 0.0
    level: float = 0.0
    backlog: int = 0


async def _course(plan: Plan, uplink: Child, edge: StreamApi, hub: StreamApi, streams: Sequence[str]) -> Times:
    clock, times = asyncio.get_running_loop().time, Times()

    async def behind() -> int:
        return (await edge.state(streams[0])).last_seq - (await hub.state(streams[1])).last_seq

    async def is_forwarding() -> bool:
        return (await hub.state(streams[1])).last_seq > 0 and await behind() < plan.rate

    await poll(is_forwarding, timeout_s=60, what="a first value at the hub")
    await asyncio.sleep(plan.before_s)
    uplink.signal(signal.SIGUSR1)
    times.cut = clock()
    await asyncio.sleep(plan.cut_s)
    goal = (await edge.state(streams[0])).last_seq
    times.backlog = goal - (await hub.state(streams[1])).last_seq
    uplink.signal(signal.SIGUSR2)
    times.restored = clock()

    async def has_caught_up() -> bool:
        return (await hub.state(streams[1])).last_seq >= goal

    async def is_level() -> bool:
        return await behind() <= plan.rate

    await poll(has_caught_up, timeout_s=300, what="catching up")
    times.caught_up = clock()
    await poll(is_level, timeout_s=300, what="a hub that is level")
    times.level = clock()
    await asyncio.sleep(min(2.0, plan.before_s))  # so that some live values are there even when this was quick
    return times


async def _values(connection: RawConnection, stream: str, domain: str, last_seq: int) -> list[int]:
    """What the hub's stream holds, without the records."""
    values: list[int] = []
    async with aclosing(StreamReader(connection, domain=domain).read(stream)) as batches:
        async for batch in batches:
            values += [int(_decoder.decode(m.payload).value) for m in batch if "._tag.t" in m.subject]
            if batch and batch[-1].seq >= last_seq:
                break
    return values


def _measure(plan: Plan) -> str:
    return f"catch-up after {plan.cut_s:g} s at {plan.rate:,} messages/s, {plan.kind}"


def _row(
    plan: Plan, times: Times, live: Sequence[tuple[float, float]], values: list[int], sent: int, *, is_short: bool
) -> Row:
    lost, doubled = sent - len(set(values)), len(values) - len(set(values))
    disordered = sum(b < a for a, b in pairwise(values))
    catch_up_s = times.level - times.restored
    ages = sorted(age for at, age in live if times.restored <= at < times.level + 2.0)
    link_back_s = next((at for at, _ in live if at >= times.restored), float("inf")) - times.restored
    p99 = ages[int(len(ages) * 0.99)] if ages else float("inf")
    is_exact = lost == doubled == disordered == 0
    return Row(
        _measure(plan), f"{catch_up_s:.1f} s, live age p99 {p99:.0f} ms", _TARGET,
        is_met=is_exact and (is_short or (catch_up_s < CATCH_UP_S_MAX and p99 < AGE_P99_MS_MAX)),
        note=f"{times.backlog:,} messages waited; {sent:,} sent, {lost} lost, {doubled} doubled",
        result_hash=digest([lost, doubled, disordered, values[:100]]),
        details={
            "catch_up_s": round(catch_up_s, 2), "link_back_s": round(link_back_s, 2),
            "backlog_there_s": round(times.caught_up - times.restored, 2),
            "live_age_p99_ms": round(p99, 1), "live_age_max_ms": round(ages[-1], 1) if ages else None,
            "live_values": len(ages), "backlog_messages": times.backlog, "sent": sent, "lost": lost,
            "doubled": doubled, "out_of_order": disordered,
        },
    )  # fmt: skip
