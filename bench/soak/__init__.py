"""The demo's edge with all its connectors and devices, for as long as you like: its memory, and whether it grows.

    python -m bench soak [--json] [--short] [--for 600]

The slope is the least-squares line through the second half of the run.
"""

from __future__ import annotations

import asyncio
import signal

from bench._nodes import Meter, open_rig, poll, slope_mb_per_h
from bench._report import Row, digest, finish, parser
from millstream.client import Plant, connect
from millstream.demo._plant import (
    DEVICES,
    MQTT,
    WAVEFORM,
    edge_document,
    hub_document,
)
from millstream.rig import new_secret, write_private

RSS_MB_MAX = 150.0
SLOPE_MB_PER_H_MAX = 20.0  # of a run of minutes; a leak of 1 KiB a second is 3.6 MB an hour
SAMPLE_S = 1.0


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("soak", __doc__ or "")
    options.add_argument("--for", dest="for_s", type=float, default=600.0)
    chosen = options.parse_args(argv)
    rows = asyncio.run(run(4.0 if chosen.short else chosen.for_s, is_short=chosen.short))
    return finish("soak", argv, rows, chosen)


async def run(for_s: float, *, is_short: bool) -> list[Row]:
    """One run of the demo's plant without a cut."""
    async with open_rig() as rig:
        secret = write_private(rig.folder / "edge.secret", new_secret())
        _, hub_node = await rig.start_node("hub", hub_document(rig.folder, secret))
        devices = {device: await rig.start(device.name, device.command(rig.folder)) for device in DEVICES}
        for child in devices.values():
            await child.wait_ready()
        ready = {device.name: child.ready for device, child in devices.items()}
        document = edge_document(rig.folder, secret, int(hub_node["leaf_port"]), ready, ())
        replay = next(c for c in document["connectors"] if c["name"] == WAVEFORM)
        replay["config"]["loop"] = True
        edge, node = await rig.start_node("edge", document)
        password = write_private(rig.folder / "mqtt.secret", str(node["mqtt_password"]))
        arguments = [MQTT.module, "--host", "127.0.0.1", "--port", str(node["mqtt_port"]), "--user",
                     str(node["mqtt_user"]), "--password-file", str(password), *MQTT.arguments, "--paused"]  # fmt: skip
        mqtt = await rig.start(MQTT.name, arguments)
        await mqtt.wait_ready()
        async with connect(node=rig.folder / "edge") as plant:
            await poll(lambda: _is_connected(plant), timeout_s=120, what="a session of every connector")
            for child in (*devices.values(), mqtt):
                child.signal(signal.SIGUSR2)
            meter = Meter(edge.process.pid)
            points, cpu = await _watch(meter, for_s)
            states = await _states(plant)
    return [_row(points, cpu, for_s, states, is_short=is_short)]


async def _states(plant: Plant) -> dict[str, str]:
    for status in await plant.status():
        if status.get("name") == plant.node.name:
            return {str(c["name"]): str(c["state"]) for c in status["connectors"]}
    return {}


async def _is_connected(plant: Plant) -> bool:
    states = await _states(plant)
    return bool(states) and all(state == "connected" for state in states.values())


async def _watch(meter: Meter, for_s: float) -> tuple[list[tuple[float, float, float]], float]:
    """(seconds, MB of the edge, MB of its server) once a second, and the edge's share of a core in percent."""
    clock = asyncio.get_running_loop().time
    begun_s, cpu = clock(), meter.cpu_s()
    points = []
    while (now_s := clock() - begun_s) < for_s:
        points.append((now_s, *meter.rss_mb()))
        await asyncio.sleep(SAMPLE_S)
    return points, (meter.cpu_s()[0] - cpu[0]) / now_s * 100


def _row(
    points: list[tuple[float, float, float]],
    cpu_percent: float,
    for_s: float,
    states: dict[str, str],
    *,
    is_short: bool,
) -> Row:
    half = [p for p in points if p[0] >= for_s / 2]
    slope, server_slope = (slope_mb_per_h([(p[0], p[n]) for p in half]) for n in (1, 2))
    most = max(p[1] for p in points)
    is_flat = is_short or slope < SLOPE_MB_PER_H_MAX
    return Row(
        "edge process with all connectors of the demo", f"{most:.0f} MB, {slope:+.1f} MB/h",
        f"under {RSS_MB_MAX:g} MB, flat",
        is_met=(is_short or most < RSS_MB_MAX) and is_flat and set(states.values()) == {"connected"},
        note=f"{for_s:g} s; {cpu_percent:.1f} % of one core; its nats-server {points[-1][2]:.0f} MB",
        result_hash=digest(sorted(states.items())),
        details={"rss_mb_max": round(most, 1), "rss_mb_end": round(points[-1][1], 1), "slope_mb_per_h": round(slope, 2),
                 "server_rss_mb_end": round(points[-1][2], 1), "server_slope_mb_per_h": round(server_slope, 2),
                 "edge_cpu_percent": round(cpu_percent, 1), "for_s": for_s, "connectors": states},
    )  # fmt: skip
