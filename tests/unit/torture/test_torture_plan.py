"""The plan of faults follows from the seed and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.torture._options import parse_options
from millstream.torture._plan import KINDS, LENGTHS_S, LINKS, PROCESSES, Fault, make_plan

SEEDS = st.integers(0, 2**63)


@given(SEEDS, st.floats(5, 600), st.sets(st.sampled_from(KINDS)))
def test_the_same_seed_makes_the_same_plan(seed: int, for_s: float, kinds: set[str]) -> None:
    assert make_plan(seed, for_s, sorted(kinds)) == make_plan(seed, for_s, sorted(kinds, reverse=True))


@given(SEEDS, st.floats(5, 600), st.sets(st.sampled_from(KINDS), min_size=1))
def test_faults_are_in_order_within_their_bounds_and_over_in_time(seed: int, for_s: float, kinds: set[str]) -> None:
    plan = make_plan(seed, for_s, sorted(kinds))
    assert plan
    assert [f.at_s for f in plan] == sorted(f.at_s for f in plan)
    for fault in plan:
        assert fault.kind in kinds
        assert fault.for_s <= LENGTHS_S[fault.kind][1] + 0.001
        assert fault.end_s <= for_s + 0.002
        assert fault.target in (*PROCESSES, *LINKS)


@given(SEEDS)
def test_each_kind_comes_once_before_any_comes_again(seed: int) -> None:
    plan = make_plan(seed, 120, KINDS)
    for first in range(0, len(plan) - len(KINDS), len(KINDS)):
        assert {f.kind for f in plan[first : first + len(KINDS)]} == set(KINDS)


def test_another_seed_makes_another_plan() -> None:
    assert make_plan(1, 60, KINDS) != make_plan(2, 60, KINDS)


def test_a_published_seed_makes_its_plan_in_every_version() -> None:
    """A change here makes old seeds worthless: give the new plan a new name in `make_plan` instead."""
    assert make_plan(7, 5, ("kill", "cut"))[:2] == [
        Fault("cut", 0.5, 1.576, "uplink"),
        Fault("kill", 1.853, 0.0, "hub-server"),
    ]


def test_unknown_faults_and_too_short_runs_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--faults", "kill,meteor"], ["--for", "1s"], ["--cuts", "0"], ["--for", "soon"]):
        with pytest.raises(SystemExit) as caught:
            parse_options(wrong)
        assert caught.value.code == 2
    assert "meteor" in capsys.readouterr().err


def test_power_alone_and_power_among_others() -> None:
    assert parse_options(["power"]).faults == ()
    assert parse_options(["power"]).power_cuts == 3
    options = parse_options(["--faults", "kill,power", "--cuts", "5"])
    assert (options.faults, options.power_cuts) == (("kill",), 5)
    assert parse_options([]).power_cuts == 0
    assert parse_options([]).faults == KINDS
