"""A minute of raw 1 kHz channels, asked for at the edges that hold it: each sample once, in order, at its time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fleet_site import site, until

from millstream.client import Plant
from millstream.edge import EdgeNode
from millstream.kernel import SystemClock

RATE_HZ = 1000
MS_NS = 10**9 // RATE_HZ
MINUTE = 60 * RATE_HZ
RESTARTS = 3
CHANNELS = [f"c{n}" for n in range(8)]


def write_waveform(file: Path, channels: Sequence[str], count: int) -> None:
    """Each sample tells its channel and its number."""
    np.savez(file, rate_hz=RATE_HZ, **{name: np.arange(count) + at * 10**6 for at, name in enumerate(channels)})


def replay(file: Path, name: str, channels: Sequence[str], **config: Any) -> dict[str, Any]:
    return {
        "name": name, "type": "replay", "path": f"line/{name}", "config": {"file": file, "times": "shift", **config},
        "durability": "site",
        "tags": [{"name": channel, "address": channel} for channel in channels],
    }  # fmt: skip


def stored(edge: EdgeNode, connector: str) -> int:
    connectors: Any = edge.status()["connectors"]
    return int(next(each["samples_stored"] for each in connectors if each["name"] == connector))


async def pulled(plant: Plant, pattern: str, **range: Any) -> tuple[dict[str, pa.Table], Any]:
    """Of each tag what came, in the order in which it came, and the account."""
    run = plant.fleet.data(pattern, **range)
    parts = [part.table.replace_schema_metadata(None) async for part in run]
    if not parts:
        return {}, run.summary
    whole = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    tags = whole.column("tag").combine_chunks()
    of_tag = {tag: whole.filter(pc.equal(tags.indices, at)) for at, tag in enumerate(tags.dictionary.to_pylist())}
    return {tag: table for tag, table in of_tag.items() if len(table)}, run.summary


def numbers(table: pa.Table, channel: int) -> Any:
    """The samples' numbers, once each is seen to stand one behind the other, a millisecond apart; between them stands
    what marks a lost link, at a time of its own."""
    quality = table.column("quality").to_numpy()
    marks = np.flatnonzero(quality)
    assert table.take(marks).column("value").null_count == len(marks) <= RESTARTS
    table = table.filter(pa.array(quality == 0))
    found = table.column("value").to_numpy() - channel * 10**6
    times = table.column("timestamp").cast(pa.int64()).to_numpy()
    assert np.array_equal(np.diff(found), np.ones(len(found) - 1))
    assert np.array_equal(np.diff(times), np.full(len(times) - 1, MS_NS))
    return found


async def test_the_last_minute_at_1_khz_comes_whole_from_the_edges_that_hold_it(tmp_path: Path) -> None:
    """Stored all at once and late, as after an outage: what counts is when a sample was taken."""
    write_waveform(tmp_path / "minute.npz", CHANNELS, MINUTE + 5 * RATE_HZ)
    write_waveform(tmp_path / "runs.npz", CHANNELS[:2], 60 * RATE_HZ)
    eight = replay(tmp_path / "minute.npz", "spindle", CHANNELS, speed="max")
    one = replay(tmp_path / "minute.npz", "spindle", CHANNELS[:1], speed="max")
    runs = replay(tmp_path / "runs.npz", "runs", CHANNELS[:2], block_duration="50ms")
    async with (
        site(tmp_path, ["e1", "e2"]) as made, made.edge("e1", connectors=[eight, runs]) as edge,
        made.edge("e2", connectors=[one]) as other, made.plant() as plant,
    ):  # fmt: skip
        await until(lambda: stored(edge, "spindle") == 8 * stored(other, "spindle") == 8 * 65 * RATE_HZ, "65 s of each")
        begin_ns = await check_minute(plant)
        await check_reconnects(plant, edge)
        await check_forgotten(plant, other, begin_ns)


async def check_minute(plant: Plant) -> int:
    """Of one channel, and of eight; none of it at the hub. When it begins."""
    of_tag, _ = await pulled(plant, "acme/e1/line/spindle:c3", last="1h")
    (table,) = of_tag.values()
    assert np.array_equal(numbers(table, 3), np.arange(65 * RATE_HZ))
    begin_ns = table.column("timestamp")[0].value
    minute = {"start": begin_ns + RATE_HZ * MS_NS, "end": begin_ns + (RATE_HZ + MINUTE) * MS_NS}
    expected = np.arange(RATE_HZ, RATE_HZ + MINUTE)
    of_tag, summary = await pulled(plant, "acme/e1/line/spindle:c3", **minute)
    assert np.array_equal(numbers(of_tag["acme/e1/line/spindle:c3"], 3), expected)
    assert (summary.is_whole, summary.nodes["e1"].rows, summary.nodes["e1"].holds_from_ns) == (True, MINUTE, None)
    of_tag, summary = await pulled(plant, "acme/e1/line/spindle:*", **minute)
    assert sorted(of_tag) == [f"acme/e1/line/spindle:{name}" for name in CHANNELS]
    for channel, name in enumerate(CHANNELS):
        assert np.array_equal(numbers(of_tag[f"acme/e1/line/spindle:{name}"], channel), expected)
    assert {"E_e1_I", "E_e1_S"} & set((await plant.ledger()).accounts) == {"E_e1_I"}
    return begin_ns


async def check_reconnects(plant: Plant, edge: EdgeNode) -> None:
    """The last minute of channels that run, while their connector is stopped and opened again."""
    for _ in range(RESTARTS):
        before = stored(edge, "runs")
        sent = asyncio.ensure_future(plant.commands.send("restart_connector", {"connector": "runs"}, nodes=["e1"]))
        of_tag, _ = await pulled(plant, "acme/e1/line/runs:*", last="1min")
        for channel, name in enumerate(CHANNELS[:2]):
            assert numbers(of_tag[f"acme/e1/line/runs:{name}"], channel)[0] == 0
        await sent
        await until(lambda before=before: stored(edge, "runs") > before + 500, "it goes on")  # type: ignore[misc]
        of_tag, summary = await pulled(plant, "acme/e1/line/runs:*", last="1min")
        assert summary.is_whole
        for channel, name in enumerate(CHANNELS[:2]):
            found = numbers(of_tag[f"acme/e1/line/runs:{name}"], channel)
            assert found[0] == 0
            assert len(found) >= before // 2 + 250 - RESTARTS  # what marks a lost link is counted as stored, too


async def check_forgotten(plant: Plant, other: EdgeNode, begin_ns: int) -> None:
    """Of two sites at once. One has the newest part only: what it has is whole, and it says from when on."""
    async with other.server.connect("operator") as operator:
        answer = await operator.request("$JS.API.STREAM.PURGE.E_e2_S", b'{"keep": 20}')
        assert b'"success":true' in answer[4]
    asked_ns = SystemClock().now_ns()
    of_tag, summary = await pulled(plant, "acme/**/spindle:c0", start=begin_ns - 3600 * 10**9)
    assert np.array_equal(numbers(of_tag["acme/e1/line/spindle:c0"], 0), np.arange(65 * RATE_HZ))
    held = numbers(of_tag["acme/e2/line/spindle:c0"], 0)
    assert 0 < held[0] < held[-1] == 65 * RATE_HZ - 1
    assert summary.nodes["e1"].holds_from_ns is None
    assert begin_ns < summary.nodes["e2"].holds_from_ns < asked_ns
    _, summary = await pulled(plant, "acme/e2/line/spindle:c0", start=asked_ns)
    assert summary.nodes["e2"].holds_from_ns is None
