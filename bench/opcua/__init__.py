"""An OPC UA server with 1,000 tags that change once a second, read by a whole edge process: what does that cost?

    python -m bench opcua [--json] [--short] [--tags 1000] [--for 60]

The processor time is that of the edge process and of its nats-server, as a share of one core.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

from bench._nodes import Meter, open_rig, plain_connection, poll
from bench._report import Row, digest, finish, parser
from millstream.bus import StreamApi

CPU_PERCENT_MAX = 15.0
SETTLE_S = 5.0
SITE = "acme/plant1"


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("opcua", __doc__ or "")
    options.add_argument("--tags", type=int, default=1000)
    options.add_argument("--for", dest="for_s", type=float, default=60.0)
    chosen = options.parse_args(argv)
    tags, for_s = (20, 3.0) if chosen.short else (chosen.tags, chosen.for_s)
    row = asyncio.run(run(tags, for_s, settle_s=0.5 if chosen.short else SETTLE_S))
    return finish("opcua", argv, [row], chosen)


def edge_document(folder: str, ready: Mapping[str, Any]) -> dict[str, Any]:
    """An edge on its own that subscribes to all counters."""
    names = {address.rpartition("s=")[2]: address for address in ready["tags"]}
    connector = {
        "name": "press", "type": "opcua", "path": "press", "sampling_interval": "1s",
        "config": {"endpoint": ready["endpoint"], "security": {"policy": "none"}},
        "tags": [{"name": n, "address": a} for n, a in names.items() if n.startswith("counter")],
    }  # fmt: skip
    return {"edge": {"name": "plant1", "path": SITE, "data_dir": f"{folder}/edge"}, "connectors": [connector]}


async def run(tags: int, for_s: float, *, settle_s: float) -> Row:
    """One measurement."""
    async with open_rig() as rig:
        device = await rig.start(
            "press", ["millstream.sim.opcua_plant", "--tags", str(tags), "--rate", "1", "--paused"]
        )
        await device.wait_ready()
        edge, node = await rig.start_node("edge", edge_document(str(rig.folder), device.ready))
        async with plain_connection(node) as connection:
            api = StreamApi(connection, str(node["domain"]))

            async def count() -> int:
                return (await api.state("E_plant1_I")).last_seq

            async def is_flowing() -> bool:
                return await count() > 2 * tags

            device.signal(signal.SIGUSR2)
            await poll(is_flowing, timeout_s=120, what="the first values of each tag")
            await asyncio.sleep(settle_s)
            meter, clock = Meter(edge.process.pid), asyncio.get_running_loop().time
            begun_s, first, cpu = clock(), await count(), meter.cpu_s()
            await asyncio.sleep(for_s)
            wall_s, last, after = clock() - begun_s, await count(), meter.cpu_s()
            rss = meter.rss_mb()
    own, server = ((b - a) / wall_s * 100 for a, b in zip(cpu, after, strict=True))
    return Row(
        f"{tags:,} OPC UA tags at 1 Hz, whole edge process", f"{own + server:.1f} % of one core",
        f"under {CPU_PERCENT_MAX:g} %", is_met=own + server < CPU_PERCENT_MAX and last > first,
        note=f"edge {own:.1f} % and {rss[0]:.0f} MB, its nats-server {server:.1f} % and {rss[1]:.0f} MB",
        result_hash=digest([tags, last > first]),
        details={
            "edge_cpu_percent": round(own, 2), "server_cpu_percent": round(server, 2), "edge_rss_mb": round(rss[0], 1),
            "server_rss_mb": round(rss[1], 1), "messages_per_s": round((last - first) / wall_s, 1), "for_s": for_s,
        },
    )  # fmt: skip
