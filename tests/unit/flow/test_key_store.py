"""Keys in memory up to a bound, the others in a file; whoever asks sees no difference."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from flow_bench import SECOND, T0, Bench, parts

from millstream.flow import KeyStore
from millstream.flow._store import ENTRY_BYTES


@pytest.mark.parametrize("bounds", [{"hot_max": 20}, {"bytes_max": 20_000}, {}])
def test_a_store_that_spills_answers_as_a_dict_does(tmp_path: Path, bounds: dict[str, int]) -> None:
    rng, twin = random.Random(5), dict[str, bytes]()
    store = KeyStore(tmp_path / "scratch", **bounds)
    for _ in range(5000):
        key = f"k{rng.randrange(300)}"
        if rng.random() < 0.7:
            twin[key] = rng.randbytes(rng.randrange(1, 1500))
            store.put(key, twin[key])
        else:
            twin.pop(key, None)
            store.drop(key)
        assert len(store) == len(twin)
        probe = f"k{rng.randrange(300)}"
        assert store.get(probe) == twin.get(probe)
    assert sorted(store.all_keys()) == sorted(twin)
    assert store.hot_count <= bounds.get("hot_max", 10**9)
    assert store.hot_bytes <= bounds.get("bytes_max", 10**9)
    assert (tmp_path / "scratch").exists() == bool(bounds)
    for key in list(twin):
        store.drop(key)
    assert (len(store), store.hot_bytes, list(store.all_keys())) == (0, 0, [])
    store.close()
    assert not (tmp_path / "scratch").exists()


def test_the_bytes_of_a_store_are_those_that_it_holds(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "scratch", bytes_max=10_000)
    for n in range(100):
        store.put(f"key {n:02}", bytes(n + 1))
        store.put(f"key {n:02}", bytes(2 * n + 1))
    hot = [f"key {n:02}" for n in range(100 - store.hot_count, 100)]
    assert store.hot_bytes == sum(len(store.get(key) or b"") + 6 + ENTRY_BYTES for key in hot)
    store.close()


def test_one_entry_that_is_larger_than_the_bound_is_kept(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "scratch", bytes_max=1000)
    store.put("large", bytes(5000))
    store.put("small", b"1")
    assert (store.get("large"), store.get("small"), len(store)) == (bytes(5000), b"1", 2)
    store.close()


async def test_a_flow_whose_state_is_larger_than_memory_counts_on_over_restarts(tmp_path: Path) -> None:
    bench = Bench()
    bench.scratch, bench.hot_bytes = tmp_path, 5000
    for round_ in range(3):
        for i in range(600):
            bench.feed(f"m{i % 200}:barrier", i // 200 % 2 == 0, T0 + round_ * SECOND + i)
        async with bench.running() as runner:
            await bench.done(runner)
            [store] = [each._store for each in runner.running.values()]
            assert (len(store), store.hot_count < 20, any(tmp_path.iterdir())) == (200, True, True)
    assert not any(tmp_path.iterdir())
    assert all(parts(bench, f"m{i}") == list(range(1, 5)) for i in range(200))
