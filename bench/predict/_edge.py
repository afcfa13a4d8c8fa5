"""A break of a tool at 1 kHz through a whole edge: from the sample to the alarm that is stored.

A real edge node with its nats-server plays recordings in true time: the force of each machine in blocks of 32 ms, which
stay at the site (`durability: site`), and what its controller says. The flows `waveform` and `tool` run in the node as
they do in a plant, and learn three cuts, not the first ones when a flow starts later than its input: a cut without its
end is not learnt from. All tools break at some sample of the last cut. The delay is the time from this sample, told by
when the node took in the block that holds it, to the moment at which the server stored the alarm. What runs beside the
edge on this machine slows it: that is in the figure.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np

from bench._nodes import open_rig, plain_connection, poll, tree_cpu_s
from bench._report import Row, digest
from bench.predict import _cuts as cuts
from millstream.bus import RawConnection, StreamApi, StreamReader
from millstream.protocols.cloudevents import format_time
from millstream.protocols.uns_payload import decode_block

FLOWS, SITE = "E_e1_F", "E_e1_S"
ALARM = "uns.v1.acme.plant1.*._alarm.tool.broken"
FORCE = "uns.v1.acme.plant1.*._tag.force"


async def edge_row(channels: int, seconds: int, *, is_short: bool) -> Row:
    """How late the alarms of all breaks were, and what the edge took of the processor."""
    breaks = {f"mill{channel}": broken for channel, broken in cuts.breaks_of(channels, seconds).items()}
    async with open_rig() as rig:
        _record(rig.folder, breaks, seconds)
        child, node = await rig.start_node("edge", _document(rig.folder, channels))
        before = tree_cpu_s(child.process.pid)
        async with plain_connection(node) as connection:

            async def has_all() -> bool:
                return len(await _alarms(connection)) == channels

            await poll(has_all, timeout_s=3 * seconds + 60, what="the alarms of all breaks")
            after = tree_cpu_s(child.process.pid)
            alarms, taken = await _alarms(connection), await _taken(connection, breaks)
    late_ms = sorted((alarms[mill] - taken[mill]) / cuts.MS_NS for mill in breaks)
    cores = (after - before) / seconds
    p50, worst = late_ms[len(late_ms) // 2], late_ms[-1]
    return Row(
        f"a break at 1 kHz through an edge, {channels} machines: from sample to stored alarm, the slowest",
        f"{worst:.0f} ms", f"at most {cuts.DELAY_MS_MAX:g} ms", None, is_short or worst <= cuts.DELAY_MS_MAX,
        f"half of them within {p50:.0f} ms; node, flows and nats-server took {cores:.2f} cores",
        digest(sorted(breaks.items())), {"worst_ms": worst, "p50_ms": p50, "cores": cores},
    )  # fmt: skip


def _record(folder: Path, breaks: Mapping[str, int], seconds: int) -> None:
    """Noise about a tone while it cuts; and what the controllers say, at the same times."""
    numbers = np.arange(seconds * cuts.RATE_HZ)
    forces = {
        mill: cuts.force(numbers, broken, np.random.default_rng(channel).normal(size=len(numbers)))
        for channel, (mill, broken) in enumerate(breaks.items())
    }
    np.savez(folder / "force.npz", allow_pickle=False, rate_hz=cuts.RATE_HZ, **forces)
    with (folder / "controllers.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        settings = [str(value) for value in cuts.SETTINGS.values()]
        rows.writerow(["time", *(f"{mill}.{name}" for mill in breaks for name in cuts.SAID)])
        for number in range(0, seconds * cuts.RATE_HZ, cuts.PERIOD):
            for at, cutting in ((number, "true"), (number + cuts.CUT, "false")):
                rows.writerow([format_time(cuts.START_NS + at * cuts.MS_NS), *(len(breaks) * [*settings, cutting])])


def _document(folder: Path, channels: int) -> dict[str, Any]:
    mills = [f"mill{channel}" for channel in range(channels)]
    replayed = {"type": "replay", "path": "/acme/plant1"}
    return {
        "edge": {"name": "e1", "path": "acme/plant1", "data_dir": str(folder / "edge")},
        "historian": None,
        "connectors": [
            {
                **replayed, "name": "sensors", "durability": "site",
                "config": {
                    "file": str(folder / "force.npz"), "start_time": format_time(cuts.START_NS),
                    "block_duration": f"{cuts.BLOCK_MS}ms",
                },
                "tags": [{"name": "force", "address": mill, "path": mill} for mill in mills],
            },
            {
                **replayed, "name": "controllers", "config": {"file": str(folder / "controllers.csv")},
                "tags": [
                    {"name": name, "address": f"{mill}.{name}", "path": mill} for mill in mills for name in cuts.SAID
                ],
            },
        ],
        "flows": [
            {
                "name": "features", "type": "waveform", "inputs": ["acme/plant1/*:force"],
                "config": {
                    "rate_hz": cuts.RATE_HZ, "window": f"{cuts.BLOCK_MS}ms", "features": ["rms"],
                    "bands": cuts.BANDS,
                },
            },
            {
                "name": "tools", "type": "tool",
                "inputs": [
                    *({"pattern": f"acme/plant1/*:force/{name}", "kind": "kpi"} for name in cuts.LOADS),
                    *(f"acme/plant1/*:{name}" for name in cuts.SAID),
                ],
                "config": cuts.TOOL,
            },
        ],
    }  # fmt: skip


async def _messages(connection: RawConnection, stream: str, subjects: str) -> list[Any]:
    """All that is stored on these subjects now."""
    found: list[Any] = []
    last_seq = (await StreamApi(connection).state(stream)).last_seq
    async with aclosing(StreamReader(connection).read(stream, filter_subjects=[subjects], wait_s=0.5)) as batches:
        async for batch in batches:
            found += batch
            if not batch or batch[-1].seq >= last_seq:
                break
    return found


async def _alarms(connection: RawConnection) -> dict[str, int]:
    """When the alarm of each machine was stored, in ns."""
    found: dict[str, int] = {}
    for received in await _messages(connection, FLOWS, ALARM):
        if json.loads(received.payload).get("state") != "normal":
            found.setdefault(received.subject.split(".")[4], received.stored_time_ns)
    return found


async def _taken(connection: RawConnection, breaks: Mapping[str, int]) -> dict[str, float]:
    """When the first sample of each break was there, in ns: before the end of its block, as the recording is played."""
    found: dict[str, float] = {}
    for received in await _messages(connection, SITE, FORCE):
        mill = received.subject.split(".")[4]
        block = decode_block(received.payload)
        number = (int(block.time_ns[0]) - cuts.START_NS) // cuts.MS_NS
        if number <= breaks[mill] < number + len(block):
            found[mill] = block.ingest_ns - (number + len(block) - breaks[mill]) * cuts.MS_NS
    return found
