"""Flows on the in-memory bus: every input counts once, whatever is killed when."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest
from flow_bench import SECOND, T0, Bench, parts


async def test_every_rising_edge_counts_once() -> None:
    bench = Bench()
    for i in range(10):
        bench.feed("press:barrier", i % 2 == 1, T0 + i * SECOND // 10)
    async with bench.running() as runner:
        await bench.done(runner)
    assert parts(bench) == [1, 2, 3, 4, 5]


async def test_a_restart_goes_on_where_the_last_commit_stands() -> None:
    bench = Bench()
    for i in range(7):
        bench.feed("press:barrier", i % 2 == 1, T0 + i)
    async with bench.running() as runner:
        await bench.done(runner)
    for i in range(7, 20):
        bench.feed("press:barrier", i % 2 == 1, T0 + i)
    async with bench.running() as runner:
        await bench.done(runner)
        assert runner.running[0].core.counts.messages == 13
    assert parts(bench) == list(range(1, 11))


async def test_a_timer_fires_at_its_event_time_before_the_event_that_makes_it_due() -> None:
    bench = Bench()
    for at, value in ((0, True), (1, False), (2, True), (31, False), (32, True)):
        bench.feed("press:barrier", value, T0 + at * SECOND)
    async with bench.running() as runner:
        await bench.done(runner)
    assert [(s.rsplit(".", 1)[1], v) for s, v, _ in bench.outputs()] == [
        ("parts", 1), ("parts", 2), ("parts_last", 2), ("parts", 3)
    ]  # fmt: skip


async def test_a_step_that_raises_quarantines_its_input_and_nothing_else() -> None:
    bench = Bench()
    for i, value in enumerate((True, False, "boom", True)):
        bench.feed("press:barrier", value, T0 + i)
    async with bench.running() as runner:
        await bench.done(runner)
    assert parts(bench) == [1, 2]
    [rejected] = bench.rejected
    assert (rejected.received.seq, rejected.code) == (3, "MS-0702")
    assert "ValueError: no number" in rejected.reason
    assert 'raise ValueError("no number")' in rejected.detail


async def test_a_second_instance_fences_the_first() -> None:
    bench = Bench()
    bench.feed("press:barrier", True, T0)
    async with bench.running() as first:
        await bench.done(first)
        async with bench.running() as second:
            await bench.done(second)
            bench.feed("press:barrier", False, T0 + 1)
            bench.feed("press:barrier", True, T0 + 2)
            await bench.done(second)
    assert parts(bench) == [1, 2]


@pytest.mark.parametrize("seed", range(40))
async def test_torn_commits_and_kills_lose_nothing_and_double_nothing(seed: int) -> None:
    rng = random.Random(seed)
    reference, bench = Bench(partitions=2), Bench(partitions=2)
    inputs = [(f"m{rng.randrange(5)}:barrier", rng.random() < 0.5, T0 + i * SECOND) for i in range(600)]
    for made in (reference, bench):
        for tag, value, at in inputs:
            made.feed(tag, value, at)
    async with reference.running() as runner:
        await reference.done(runner)
    bench.rng = rng
    for _ in range(8):
        bench.kill_after = rng.randint(0, 2)
        async with bench.running() as runner:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await bench.done(runner)
    bench.kill_after = None
    async with bench.running() as runner:
        await bench.done(runner)
    assert sorted(bench.outputs()) == sorted(reference.outputs())
    by_origin = [origin for _, _, origin in bench.outputs()]
    assert len(by_origin) == len(set(by_origin))


async def test_old_state_records_are_not_needed_once_the_keys_were_written_anew() -> None:
    bench = Bench()
    for i in range(6000):
        bench.feed(f"m{i % 50}:barrier", i // 50 % 2 == 0, T0 + i * SECOND)
        if i % 100 == 99:
            async with bench.running() as runner:
                await bench.done(runner)
                restore_seq = runner.running[0].core.restore_seq
    assert restore_seq > 1
    totals = {f"m{i}": max(parts(bench, f"m{i}")) for i in range(50)}
    needless = [r for r in bench.output.messages if r.subject.endswith(".state") and r.seq < restore_seq]
    assert needless
    for received in needless:
        bench.output.messages[received.seq - 1] = received._replace(subject="gone", payload=b"")
    for i in range(6000, 6100):
        bench.feed(f"m{i % 50}:barrier", i // 50 % 2 == 0, T0 + i * SECOND)
    async with bench.running() as runner:
        await bench.done(runner)
    assert {f"m{i}": max(parts(bench, f"m{i}")) for i in range(50)} == {m: n + 1 for m, n in totals.items()}


async def test_what_is_of_others_keeps_no_stream_from_being_read_out() -> None:
    bench = Bench()
    bench.feed("m0:barrier", True, T0)
    bench.source.append("uns.v1.other.site.m0._tag.oil", b"")
    async with bench.running() as runner, asyncio.timeout(20):
        while not runner.read_out:
            await asyncio.sleep(0.01)
        assert runner.read_out == {"IN"}
        assert runner.running[0].core.position("IN") < bench.source.last_seq
