"""The fault layer's treatment of answers: by chance, by seed, and nothing else."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.sim import DEVICES, Kind, Mischief
from millstream.sim._whims import DeviceClock, Freeze, seconds
from millstream.sim.iolink_master import IoLinkMaster
from millstream.sim.light_barrier import _weights
from millstream.sim.mqtt_plant import _readings

answers = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=50)
kinds = st.sets(st.sampled_from(Kind))


@given(answers, kinds, st.floats(0, 1), st.integers())
def test_the_same_seed_and_answers_get_the_same_treatment(
    sent: list[bytes], some: set[Kind], chance: float, seed: int
) -> None:
    first, second = (Mischief(some, chance, seed) for _ in range(2))
    assert [first.treat(answer) for answer in sent] == [second.treat(answer) for answer in sent]
    assert first.counts == second.counts


@given(answers, kinds, st.integers())
def test_without_chance_or_kinds_every_answer_passes(sent: list[bytes], some: set[Kind], seed: int) -> None:
    for mischief in (Mischief(some, 0.0, seed), Mischief((), 1.0, seed)):
        assert all(mischief.treat(answer).parts == (answer,) for answer in sent)
        assert not mischief.counts


@given(answers, st.integers())
def test_each_kind_does_what_it_is_called(sent: list[bytes], seed: int) -> None:
    half, wrong, drop, freeze, torn = (Mischief([kind], 1.0, seed) for kind in Kind)
    for answer in sent:
        parts = half.treat(answer).parts
        assert b"".join(parts) == answer
        assert len(parts) == (2 if len(answer) > 1 else 1)
        (mangled,) = wrong.treat(answer).parts
        assert len(mangled) != len(answer)
        assert drop.treat(answer).parts == ()
        assert freeze.treat(answer).is_frozen
        rest = torn.treat(answer)
        assert rest.is_torn
        assert len(b"".join(rest.parts)) < len(answer)
        assert answer.startswith(b"".join(rest.parts))


def test_the_chance_is_kept() -> None:
    mischief = Mischief(list(Kind), 0.1, 3)
    for _ in range(5000):
        mischief.treat(b"answer")
    assert 400 < sum(mischief.counts.values()) < 600
    assert all(60 < mischief.counts[kind] < 140 for kind in Kind)


@pytest.mark.parametrize("chance", [-0.1, 1.1])
def test_a_chance_is_between_0_and_1(chance: float) -> None:
    with pytest.raises(ValueError, match="chance"):
        Mischief((), chance, 0)


def test_a_device_clock_is_ahead_and_gains() -> None:
    right, ahead, fast = DeviceClock(), DeviceClock(3600.0), DeviceClock(0.0, 1e9)
    assert 3590 < (ahead.now_ns() - right.now_ns()) / 1e9 < 3610
    start_ns = fast.now_ns()
    assert fast.now_ns() - start_ns >= 0
    while right.now_ns() == DeviceClock().now_ns():  # one tick of the machine's clock
        pass
    assert fast.now_ns() > right.now_ns()


def test_values_stand_still_from_a_moment_on() -> None:
    assert not Freeze().is_on
    assert not Freeze(1000.0).is_on
    assert Freeze(0.0).is_on


def test_durations_of_options_may_have_a_sign() -> None:
    assert (seconds("200ms"), seconds("-2min")) == (0.2, -120.0)


def test_a_scale_a_barrier_and_a_sensor_stand_still_but_go_on_counting() -> None:
    stands, moves = Freeze(0.0), Freeze(None)
    for freeze, count in ((stands, 1), (moves, 5)):
        readings = list(islice(_readings(DeviceClock(), freeze), 5))
        assert [reading["n"] for reading in readings] == [1, 2, 3, 4, 5]
        assert len({reading["kg"] for reading in readings}) == count
        assert len(set(islice(_weights(1, freeze), 5))) == count
    master = IoLinkMaster(freeze=Freeze(0.0), clock=DeviceClock(-86_400.0 * 365 * 30))
    assert master.inputs(1) == master.inputs(1)
    master.raise_event(1, "old")
    assert master.events[0]["time"] < "2000"


def test_every_simulated_device_is_listed() -> None:
    """What lies in the package and can be run, but for the tools, the bad example and what writes series."""
    from importlib import import_module
    from pkgutil import iter_modules

    import millstream.sim

    names = {module.name for module in iter_modules(millstream.sim.__path__) if not module.name.startswith("_")}
    runnable = {name for name in names if hasattr(import_module(f"millstream.sim.{name}"), "main")}
    assert runnable - {"link", "naive_counter", "cutting", "wearing"} == {device.name for device in DEVICES}
