"""A new version works the state out anew from old data, timers too, and says nothing that the old one has said."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from flow_bench import FLOW, SECOND, T0, Bench

from millstream.bus import MemoryStream
from millstream.flow import Commit, Muting, TimePolicy, decode_commit, muted_by
from millstream.flow._codec import Offset


def mute_by_what_was_said(bench: Bench) -> None:
    """Let the next version know how far the present one has come in each of its partitions."""
    finals = {}
    for received in bench.output.messages:
        if received.subject.endswith(".state") and f".{bench.mark}-" in received.subject:
            finals[int(received.subject.split("-")[-1].partition(".")[0])] = decode_commit(received.payload)
    bench.muted = muted_by(finals)


def feed(bench: Bench, rows: range) -> None:
    for n in rows:
        bench.feed(f"m{n % 3}:barrier", n // 3 % 2 == 0, T0 + n * SECOND)


@pytest.mark.parametrize("seed", range(12))
async def test_timers_fire_in_one_of_the_versions(seed: int) -> None:
    rng = random.Random(seed)
    reference, bench = Bench(partitions=2), Bench(partitions=2)
    feed(reference, range(300))
    async with reference.running() as runner:
        await reference.done(runner)
    cut = rng.randrange(20, 280)
    feed(bench, range(cut))
    async with bench.running() as runner:
        await bench.done(runner)
    mute_by_what_was_said(bench)
    bench.flow = replace(FLOW, version=2)
    bench.partitions = rng.choice([1, 2, 3])  # the keys may live elsewhere now
    feed(bench, range(cut, 300))
    async with bench.running() as runner:
        await bench.done(runner)
    said = [(subject, value) for subject, value, _ in bench.outputs()]
    assert any("parts_last" in subject for subject, _ in said)
    assert sorted(said) == sorted((subject, value) for subject, value, _ in reference.outputs())


@pytest.mark.parametrize("seed", range(12))
async def test_a_version_that_takes_over_from_one_that_is_still_silent_says_nothing_twice(seed: int) -> None:
    rng = random.Random(seed)
    reference, bench = Bench(), Bench(partitions=rng.choice([1, 2, 3]))
    feed(reference, range(300))
    async with reference.running() as runner:
        await reference.done(runner)
    cut = rng.randrange(40, 280)
    feed(bench, range(cut))
    async with bench.running() as runner:
        await bench.done(runner)
    for version in (2, 3):  # each comes only so far before it is replaced
        mute_by_what_was_said(bench)
        bench.flow = replace(FLOW, version=version)
        bench.partitions = rng.choice([1, 2, 3])
        whole, bench.source = bench.source, MemoryStream("IN")
        feed(bench, range(rng.randrange(1, cut - 10)))
        async with bench.running() as runner:
            await bench.done(runner)
            assert all(running.core.is_muted for running in runner.running.values())
        bench.source = whole
    mute_by_what_was_said(bench)
    bench.flow = replace(FLOW, version=4)
    bench.partitions = rng.choice([1, 2, 3])
    feed(bench, range(cut, 300))
    async with bench.running() as runner:
        await bench.done(runner)
        assert not any(running.core.is_muted for running in runner.running.values())
    said = [(subject, value) for subject, value, _ in bench.outputs()]
    assert sorted(said) == sorted((subject, value) for subject, value, _ in reference.outputs())


def test_of_a_message_that_was_taken_in_part_that_part_is_muted() -> None:
    muting = Muting(muted_by({0: Commit(1, 9, {"IN": Offset("", 5, facts=3)}, 0, 1, [])}))
    assert [muting.mutes("m", "IN", seq, fact) for seq, fact in ((5, 8), (6, 2), (6, 3), (7, 0))] == [
        True, True, False, False,
    ]  # fmt: skip


async def test_a_timer_that_fired_in_silence_does_not_fire_again_and_one_that_is_due_later_does() -> None:
    bench = Bench(replace(FLOW, time=TimePolicy(idle_ns=0)))
    feed(bench, range(5))
    async with bench.running() as runner:
        await bench.done(runner)
        async with asyncio.timeout(60):
            while sum("parts_last" in subject for subject, _, _ in bench.outputs()) < 3:
                await asyncio.sleep(0.01)
    mute_by_what_was_said(bench)
    before = bench.outputs()
    bench.flow = replace(bench.flow, version=2)
    async with bench.running() as runner:
        await bench.done(runner)
        async with asyncio.timeout(60):
            while runner.running[0].core.is_muted:
                await asyncio.sleep(0.01)
        assert bench.outputs() == before, "said again"
        bench.feed("m0:barrier", False, T0 + 20 * SECOND)
        bench.feed("m0:barrier", True, T0 + 21 * SECOND)
        async with asyncio.timeout(60):
            while sum("parts_last" in subject for subject, _, _ in bench.outputs()) < 4:
                await asyncio.sleep(0.01)
    assert [(s.rsplit(".", 1)[1], v) for s, v, _ in bench.outputs()[len(before) :]] == [("parts", 2), ("parts_last", 2)]
