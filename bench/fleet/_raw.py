"""The last minute of 1 kHz channels, asked at the hub of some sites at once and answered by the edges that hold it.

Each site is an edge process of its own, with its own nats-server. A recording of a minute is stored at once, in blocks
of a second, as a waveform device would send them, and stays at the site (`durability: site`); what is asked for is the
whole of it, of one channel and of all. The links are loopback, and all stands on one machine, so what is measured is
processor time and memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from bench._nodes import Meter, open_rig, poll
from bench._report import Row, digest
from bench.fleet._plant import RAW_CHANNELS, hub_document, write_waveform
from millstream.client import Plant, connect
from millstream.rig import Child

RATE_HZ = 1000
ASKED = 5  # times, after one that is not measured
HEARD_S = 0.02  # between two looks at memory


async def raw_rows(sites: int, *, is_short: bool) -> list[Row]:
    """A row for one channel of each site, one for all channels of each."""
    count = RATE_HZ * (2 if is_short else 60)
    async with open_rig() as rig:
        hub, node = await rig.start_node("hub", hub_document(rig.folder, sites))
        write_waveform(rig.folder, count, RATE_HZ)
        edges = []
        for number in range(sites):
            arguments = [str(rig.folder), str(node["leaf_port"]), str(number), "1", "--raw"]
            edges.append(await rig.start(f"sites-{number}", ["bench.fleet._sites", *arguments]))
            await edges[-1].wait_ready(timeout_s=120)
        async with connect(node=rig.folder / "hub") as plant:

            async def is_there() -> bool:
                return len(await _asked(plant, "acme/*/spindle:*")) == sites * RAW_CHANNELS * count

            await poll(is_there, timeout_s=120, what="a minute of each channel")
            return [
                await _row(plant, hub, edges, pattern, (sites, channels, count))
                for pattern, channels in (("acme/*/spindle:c0", 1), ("acme/*/spindle:*", RAW_CHANNELS))
            ]


async def _asked(plant: Plant, pattern: str) -> pa.Table:
    return await plant.fleet.data(pattern, last="1h", deadline=60, bytes_max=1 << 30).table()


async def _row(plant: Plant, hub: Child, edges: list[Child], pattern: str, size: tuple[int, int, int]) -> Row:
    sites, channels, count = size
    meters = [Meter(hub.process.pid), *(Meter(edge.process.pid) for edge in edges)]
    own = psutil.Process()
    found = await _asked(plant, pattern)
    cpu_before = [meter.cpu_s() for meter in meters]
    rss_before = [meter.rss_mb() for meter in meters]
    own_s = sum(own.cpu_times()[:2])
    peaks = [list(rss) for rss in rss_before]
    watching = asyncio.ensure_future(_watch(meters, peaks))
    for _ in range(ASKED):
        found = await _asked(plant, pattern)
    watching.cancel()
    own_ms = (sum(own.cpu_times()[:2]) - own_s) * 1e3 / ASKED / sites
    spent_s = [_less(meter.cpu_s(), cpu_s) for meter, cpu_s in zip(meters, cpu_before, strict=True)]
    grown_mb = [sum(_less(peak, rss)) for peak, rss in zip(peaks, rss_before, strict=True)]
    edge_ms, server_ms = (sum(each[part] for each in spent_s[1:]) * 1e3 / ASKED / sites for part in (0, 1))
    hub_ms = sum(spent_s[0]) * 1e3 / ASKED / sites
    is_whole = _is_whole(found, size)
    note = (
        f"its edge {edge_ms:.0f}, its nats-server {server_ms:.0f}, the hub and its server {hub_ms:.0f}, the asker "
        f"{own_ms:.0f}; memory grew by {max(grown_mb[1:]):.0f} MB at an edge, {grown_mb[0]:.0f} MB at the hub"
    )
    return Row(
        f"{count:,} samples x {channels} of each of {sites} sites",
        f"{edge_ms + server_ms + hub_ms + own_ms:.0f} ms of a core a site", "each once, in order",
        is_met=is_whole, note=note, result_hash=digest([size, is_whole]),
        details={"bytes": found.nbytes},
    )  # fmt: skip


def _less(now: Sequence[float], then: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(now, then, strict=True)]


async def _watch(meters: list[Meter], peaks: list[list[float]]) -> None:
    while True:
        for meter, peak in zip(meters, peaks, strict=True):
            peak[:] = map(max, peak, meter.rss_mb())
        await asyncio.sleep(HEARD_S)


def _is_whole(found: pa.Table, size: tuple[int, int, int]) -> bool:
    """Each sample of each channel once, in order, a sampling interval apart."""
    sites, channels, count = size
    tags = found.column("tag").combine_chunks().dictionary_decode()
    names = pc.unique(tags)
    if len(names) != sites * channels:
        return False
    for name in names:
        of_tag = found.filter(pc.equal(tags, name))
        times = of_tag.column("timestamp").cast(pa.int64()).to_numpy()
        if not np.array_equal(of_tag.column("value").to_numpy(), np.arange(count)):
            return False
        if not np.array_equal(np.diff(times), np.full(count - 1, 10**9 // RATE_HZ)):
            return False
    return True
