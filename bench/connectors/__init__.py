"""What each connector costs in a whole edge process, and how soon it is back after its device was killed.

    python -m bench connectors [--json] [--short] [--kind modbus|s7|...] [--tags 1000 --tags 10000]

Every tag changes once a second and is read once a second, so each is one stored message a second (of `modbus-arrays`
one with a hundred registers). The processor time is that of the edge process alone, as a share of one core; requests
are counted at the device and compared with the fewest that the protocol allows for these addresses. `opens` is the
number of sessions between the device's death and the first value after its return.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench._nodes import Meter, Rig, open_rig, plain_connection, poll
from bench._report import Row, digest, finish, parser
from millstream.bus import RawConnection, StreamApi
from millstream.rig import Child

SITE = "acme/plant1"
KINDS = ("modbus", "modbus-arrays", "s7", "opcua", "ethernet_ip", "bacnet", "mqtt", "mtconnect")
SETTLE_S, MEASURE_S, DOWN_S = 4.0, 20.0, 5.0
ARRAY_REGISTERS = 100
SIZES = dict.fromkeys(KINDS, (1000, 10_000)) | {"opcua": (1000, 5000)}
"""The simulated OPC UA server is asyncua's own; 10,000 values a second are more than it can give."""
TARGETS = {("opcua", 5000): 50.0, ("modbus", 10_000): 10.0, ("modbus-arrays", 10_000): 10.0}
"""Percent of one core."""
SHORT_TAGS, SHORT_S = 20, 2.0


@dataclass(frozen=True, slots=True)
class Case:
    """One connector at one size. `registers_each` values stand in one tag; `requests_min` is a scan's least, None where
    the device pushes."""

    kind: str
    tags: int
    command: list[str]
    connector: Callable[[Mapping[str, Any]], dict[str, Any]]
    requests_min: int | None = None
    registers_each: int = 1


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("connectors", __doc__ or "")
    options.add_argument("--kind", choices=KINDS, action="append")
    options.add_argument("--tags", type=int, action="append")
    chosen = options.parse_args(argv)
    sizes = [SHORT_TAGS] if chosen.short else chosen.tags
    cases = [case_of(kind, tags) for kind in chosen.kind or KINDS for tags in sizes or SIZES[kind]]
    rows = [asyncio.run(run(case, is_short=chosen.short)) for case in cases]
    return finish("connectors", argv, rows, chosen)


def case_of(kind: str, tags: int) -> Case:
    """What to run."""
    if kind == "opcua":
        command = ["millstream.sim.opcua_plant", "--tags", str(tags), "--rate", "1", "--port"]
        return Case(kind, tags, command, _opcua)
    device = ["bench.connectors._devices", kind, str(tags)]
    if kind == "modbus-arrays":
        count = max(1, tags // ARRAY_REGISTERS)
        names = [(f"a{i}", f"holding:{i * ARRAY_REGISTERS}:uint16[{ARRAY_REGISTERS}]") for i in range(count)]
        # An array is not torn over two requests, since its parts would be of two moments.
        return Case(kind, tags, device, _entry("modbus", names), count, ARRAY_REGISTERS)
    pattern, least = PLANS[kind]
    names = [(f"r{i}", pattern.format(i, 2 * i)) for i in range(tags)]
    return Case(kind, tags, device, _entry(kind, names), least(tags))


def _logix_requests(tags: int) -> int:
    """A Multiple Service Packet carries a read (service, path, count) and two octets of its offset for each tag."""
    octets = sum(8 + (len(f"T{i}") + 1) // 2 * 2 for i in range(tags))
    return math.ceil(octets / (CONNECTION_BYTES - LOGIX_HEAD_BYTES))


CONNECTION_BYTES, LOGIX_HEAD_BYTES = 4002, 10
BACNET_OBJECT_BYTES = 7 + 9 + 7  # in an answer: the object, its present value, its status flags
PLANS: dict[str, tuple[str, Callable[[int], int | None]]] = {
    "modbus": ("holding:{0}:uint16", lambda tags: math.ceil(tags / 125)),
    "s7": ("DB1.DBW{1}", lambda tags: None),
    "ethernet_ip": ("T{0}", _logix_requests),
    "bacnet": ("analog-value:{0}", lambda tags: math.ceil(tags * BACNET_OBJECT_BYTES / (1476 - 3))),
    "mqtt": ("t/{0}", lambda tags: None),
    "mtconnect": ("i{0}", lambda tags: math.ceil(tags / 1000)),
}
"""The address of tag i by connector, and the fewest requests of a scan."""
OPTIONS: dict[str, dict[str, Any]] = {
    "s7": {"state_interval": "0s"},
    "ethernet_ip": {"status_interval": "0s"},
    "bacnet": {"cov": False},
    "mqtt": {"source": "broker", "client_id": "bench"},
}


def _tags(names: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "address": address} for name, address in names]


def _entry(kind: str, names: list[tuple[str, str]]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    def made(ready: Mapping[str, Any]) -> dict[str, Any]:
        config = {"host": "127.0.0.1", "port": ready["port"], **OPTIONS.get(kind, {})}
        if kind == "mtconnect":
            config = {"mode": "agent", "url": f"http://127.0.0.1:{ready['port']}"}
        return {"type": kind, "config": config, "tags": _tags(names)}

    return made


def _opcua(ready: Mapping[str, Any]) -> dict[str, Any]:
    names = [(a.rpartition("s=")[2], a) for a in ready["tags"] if a.rpartition("s=")[2].startswith("counter")]
    config = {"endpoint": ready["endpoint"], "security": {"policy": "none"}}
    return {"type": "opcua", "config": config, "tags": _tags(names)}


async def run(case: Case, *, is_short: bool) -> Row:
    """One measurement, then the device's death and return."""
    messages = case.tags // case.registers_each or 1
    async with open_rig() as rig:
        device = await _start(rig, case, 0)
        document = {
            "edge": {"name": "plant1", "path": SITE, "data_dir": str(rig.folder / "edge")},
            "connectors": [
                {"name": "device", "path": "device", "sampling_interval": "1s", **case.connector(device.ready)}
            ],
        }
        edge, node = await rig.start_node("edge", document)
        async with plain_connection(node) as connection:
            count = _counter(connection, str(node["domain"]))
            await poll(_above(count, 2 * messages), timeout_s=300, what="the first values of each tag")
            await asyncio.sleep(0.5 if is_short else SETTLE_S)
            figures = await _measure(Meter(edge.process.pid), device, count, SHORT_S if is_short else MEASURE_S)
            recovery_s, opens = await _recover(rig, case, device, connection, down_s=0.5 if is_short else DOWN_S)
    return _row(case, figures, recovery_s, opens, is_short=is_short)


async def _start(rig: Rig, case: Case, port: int) -> Child:
    device = await rig.start(f"device{port}", [*case.command, str(port)])
    await device.wait_ready()
    return device


def _counter(connection: RawConnection, domain: str) -> Callable[[], Awaitable[int]]:
    api = StreamApi(connection, domain)

    async def count() -> int:
        return (await api.state("E_plant1_I")).last_seq

    return count


def _above(count: Callable[[], Awaitable[int]], least: int) -> Callable[[], Awaitable[bool]]:
    async def is_above() -> bool:
        return await count() > least

    return is_above


async def _measure(
    meter: Meter, device: Child, count: Callable[[], Awaitable[int]], for_s: float
) -> dict[str, float | None]:
    clock = asyncio.get_running_loop().time
    before = await _requests(device)
    begun_s, first, cpu = clock(), await count(), meter.cpu_s()
    await asyncio.sleep(for_s)
    wall_s, last, after = clock() - begun_s, await count(), meter.cpu_s()
    requests = await _requests(device)
    return {
        "messages_per_s": (last - first) / wall_s,
        "edge_cpu_percent": (after[0] - cpu[0]) / wall_s * 100,
        "server_cpu_percent": (after[1] - cpu[1]) / wall_s * 100,
        "edge_rss_mb": meter.rss_mb()[0],
        "requests_per_s": None if requests is None or before is None else (requests - before) / wall_s,
    }


async def _requests(device: Child) -> int | None:
    """As the device counted; None of one that does not."""
    if not device.ready.get("counts"):
        return None
    device.signal(signal.SIGUSR1)
    assert device.process.stdout is not None
    return int(json.loads(await device.process.stdout.readline())["requests"])


async def _recover(
    rig: Rig, case: Case, device: Child, connection: RawConnection, *, down_s: float
) -> tuple[float, int]:
    """Seconds from the device's return to the first stored value, and the sessions that were opened meanwhile."""
    clock, port = asyncio.get_running_loop().time, int(device.ready["port"])
    count = _counter(connection, "plant1")
    opens = await _opens(connection)
    await device.kill()
    await asyncio.sleep(down_s)
    await _start(rig, case, port)
    back_s, before = clock(), await count()
    await poll(_above(count, before), timeout_s=120, what="values after the device's return")
    return clock() - back_s, await _opens(connection) - opens


async def _opens(connection: RawConnection) -> int:
    answer = await connection.request("millstream.node.plant1.status")
    return int(json.loads(answer[4])["connectors"][0]["opens"])


def _row(case: Case, figures: Mapping[str, float | None], recovery_s: float, opens: int, *, is_short: bool) -> Row:
    cpu, rate = figures["edge_cpu_percent"] or 0.0, figures["messages_per_s"] or 0.0
    limit = TARGETS.get((case.kind, case.tags))
    requests = figures["requests_per_s"]
    least = "" if case.requests_min is None else f", at least {case.requests_min}"
    said = "" if requests is None else f"{requests:.1f} requests/s{least}; "
    details = {name: None if value is None else round(value, 2) for name, value in figures.items()}
    expected = case.tags / case.registers_each
    return Row(
        f"{case.kind}, {case.tags:,} {'registers' if case.registers_each > 1 else 'tags'} at 1 Hz",
        f"{cpu:.1f} % of one core", "" if limit is None else f"under {limit:g} %",
        is_met=is_short or ((limit is None or cpu < limit) and rate > 0.9 * expected),
        note=f"{rate:,.0f} messages/s, {figures['edge_rss_mb']:.0f} MB; {said}back {recovery_s:.1f} s after the device",
        result_hash=digest([case.kind, case.tags]),
        details={**details, "requests_min": case.requests_min, "recovery_s": round(recovery_s, 2), "opens": opens},
    )  # fmt: skip
