"""How unlikely values are: calibrated on noise, quick on what is new, bounded in what is kept."""

from __future__ import annotations

import math
import random
import statistics

import msgspec
import pytest

from millstream.shop import LongRun, Surprise

RECENT, MEMORY = 10, 5000


def scores(values: list[float], learnt: int = 1000, recent: int = RECENT) -> list[float]:
    """One for each value."""
    kept = Surprise()
    return [kept.add(value, recent, MEMORY, is_learning=n < learnt) for n, value in enumerate(values)]


def noise(count: int, seed: int = 1, sigma: float = 1.0) -> list[float]:
    """Independent and normal about 20."""
    rng = random.Random(seed)
    return [20 + rng.gauss(0, sigma) for _ in range(count)]


def test_the_long_run_is_mean_and_variance_until_its_memory_is_full_and_then_forgets() -> None:
    values, run = noise(500), LongRun()
    for value in values:
        run.add(value, 1000, bounded=False)
    assert run.mean == pytest.approx(statistics.fmean(values))
    assert run.sigma == pytest.approx(statistics.pstdev(values))
    for _ in range(10_000):
        run.add(50.0, 1000, bounded=False)
    assert run.mean == pytest.approx(50, abs=0.01)
    assert run.count == 1000


def test_an_outlier_moves_a_bounded_long_run_by_four_sigma_at_most() -> None:
    bounded, free = LongRun(100, 0.0, 1.0), LongRun(100, 0.0, 1.0)
    bounded.add(1e6, 100, bounded=True)
    free.add(4.0, 100, bounded=False)
    assert bounded == free


def test_the_score_of_independent_normal_values_means_what_it_says() -> None:
    found = scores(noise(60_000))[1000:]
    share = sum(score >= 0.2 for score in found) / len(found)  # two questions, one in 100 each
    assert 0.005 < share < 0.04
    assert sum(score >= 0.5 for score in found) < 30  # 59,000 values, one in 100,000 each, in clusters


@pytest.mark.parametrize(
    ("what", "strange"),
    [
        ("a place where it never was", [26.0] * 20),
        ("slowly to such a place", [20 + 0.1 * n for n in range(100)]),
        ("movement as there never was", [20 + 9 * (-1) ** n for n in range(20)]),
    ],
)
def test_what_is_new_has_a_high_score(what: str, strange: list[float]) -> None:
    found = scores(noise(3000) + strange)
    assert max(found[:3000]) < 0.6, what
    assert max(found[3000:]) > 0.9, what


def test_while_it_learns_there_is_no_score() -> None:
    assert set(scores(noise(900) + [99.0] * 50)) == {0.0}


def test_one_odd_value_of_a_constant_is_odd_and_rounding_is_not() -> None:
    constant = [20.0] * 2000
    assert scores([*constant, 20.0 + 1e-12])[-1] < 0.5
    assert scores([*constant, 21.0])[-1] == 1.0


def test_each_value_is_judged_by_itself_when_one_is_recent() -> None:
    assert scores([*noise(3000), 27.0], recent=1)[-1] > 0.9


def test_what_is_kept_does_not_grow() -> None:
    kept, sizes = Surprise(), set()
    for n, value in enumerate(noise(20_000, sigma=0.1)):
        kept.add(value, RECENT, MEMORY, is_learning=n < 1000)
        if n > 6000:
            sizes.add(len(msgspec.msgpack.encode(kept)))
    assert len(sizes) == 1
    assert math.isfinite(kept.level.mean)
