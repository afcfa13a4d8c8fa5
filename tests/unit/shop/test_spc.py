"""Control charts and capability against published examples.

NIST/SEMATECH e-Handbook of Statistical Methods, 6.1.6 (capability), 6.3.2.2 (individuals), 6.3.2.3 (CUSUM), 6.3.2.4
(EWMA); Montgomery, Introduction to Statistical Quality Control, piston rings (X-bar).
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.shop import Center, Chart, ChartRules, capability, ewma_limit, indices, individuals, subgroups

FLOW = [49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1]


def test_individuals_have_the_limits_of_the_handbook() -> None:
    center = individuals(FLOW)
    assert center.mean == pytest.approx(50.81)
    assert center.mean + 3 * center.sigma == pytest.approx(55.8041, abs=2e-4)
    assert center.mean - 3 * center.sigma == pytest.approx(45.8159, abs=2e-4)
    chart = Chart()
    assert [chart.add(center, ChartRules(), value) for value in FLOW][:6] == [()] * 6


def test_subgroups_have_the_limits_of_the_piston_rings() -> None:
    # 25 samples of 5; grand mean 74.001, mean range 0.023: limits 74.014 and 73.988
    groups = [[74.001 - 0.0115, 74.001, 74.001, 74.001, 74.001 + 0.0115]] * 25
    center = subgroups(groups)
    assert center.mean + 3 * center.sigma == pytest.approx(74.014, abs=5e-4)
    assert center.mean - 3 * center.sigma == pytest.approx(73.988, abs=5e-4)


def test_the_sums_are_those_of_the_handbook_and_signal_at_the_fourteenth_sample() -> None:
    means = [
        324.925, 324.675, 324.725, 324.350, 325.350, 325.225, 324.125, 324.525, 325.225, 324.600,
        324.625, 325.150, 328.325, 327.250, 327.825, 328.500, 326.675, 327.775, 326.875, 328.350,
    ]  # fmt: skip
    chart, rules = Chart(), ChartRules(cusum_k=0.3175, cusum_h=4.1959)
    found = [("cusum" in chart.add(Center(325, 1.0), rules, mean), chart.high, chart.low) for mean in means]
    assert [is_signal for is_signal, _, _ in found].index(True) == 13
    high = [0, 0, 0, 0, 0.03, 0, 0, 0, 0, 0, 0, 0, 3.01, 4.94, 7.45, 10.63, 11.99, 14.44, 16.00, 19.04]
    low = [0, 0.01, 0, 0.33, 0, 0, 0.56, 0.72, 0.17, 0.25, 0.31, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert [sums[1] for sums in found] == pytest.approx(high, abs=0.02)
    assert [sums[2] for sums in found] == pytest.approx(low, abs=0.02)


def test_the_weighted_averages_and_limits_are_those_of_the_handbook() -> None:
    values = [
        52.0, 47.0, 53.0, 49.3, 50.1, 47.0, 51.0, 50.1, 51.2, 50.5,
        49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1,
    ]  # fmt: skip
    expected = [
        50.60, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75, 49.85, 50.26, 50.33,
        50.11, 49.36, 49.52, 50.05, 49.38, 49.92, 50.73, 51.23, 51.94, 51.99,
    ]  # fmt: skip
    chart, rules, center = Chart(), ChartRules(ewma_weight=0.3), Center(50, 2.0539)
    for value, average in zip(values, expected, strict=True):
        assert "ewma" not in chart.add(center, rules, value)
        assert 50 + chart.average * center.sigma == pytest.approx(average, abs=0.0051)
    assert 50 + ewma_limit(rules) * center.sigma == pytest.approx(52.5884, abs=1e-3)
    assert 50 - ewma_limit(rules) * center.sigma == pytest.approx(47.4115, abs=1e-3)


def test_capability_is_that_of_the_handbook() -> None:
    assert indices(16.0, 2.0, 8.0, 20.0) == (pytest.approx(1.0), pytest.approx(0.6667, abs=1e-4))
    assert indices(16.0, 2.0, None, 20.0) == (None, pytest.approx(0.6667, abs=1e-4))
    assert indices(16.0, 0.0, 8.0, 20.0) == (None, None)


def test_what_drifts_is_capable_from_part_to_part_and_not_over_all() -> None:
    found = capability([10 + n * 0.1 for n in range(40)], 5, 19)
    assert found.cpk is not None
    assert found.ppk is not None
    assert found.cpk > 10 > 2 > found.ppk
    with pytest.raises(ValueError, match="too few"):
        capability([1.0, 2.0, 3.0], 0, 5)
    with pytest.raises(ValueError, match="do not vary"):
        individuals([1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("points", "rule"),
    [
        ([0.0, 3.1], "we1"),
        ([2.1, 0.5, 2.1], "we2"),
        ([1.1, 1.1, -0.5, 1.1, 1.1], "we3"),
        ([0.1] * 8, "we4"),
        ([-0.1] * 8, "we4"),
    ],
)
def test_each_rule_of_western_electric_tells_its_run_at_its_last_point(points: list[float], rule: str) -> None:
    chart, center = Chart(), Center(100.0, 2.0)
    found = [chart.add(center, ChartRules(), 100 + 2 * z) for z in points]
    assert rule in found[-1]
    assert all(rule not in each for each in found[:-1])


@pytest.mark.parametrize("points", [[2.1, 0.5, -2.1], [1.1, 1.1, -1.1, -1.1, 1.1], [0.1] * 7 + [-0.1], [2.9]])
def test_points_on_both_sides_are_no_run(points: list[float]) -> None:
    chart = Chart()
    assert not any(chart.add(Center(0.0, 1.0), ChartRules(), z) for z in points)


@given(st.lists(st.floats(-10, 10), max_size=60))
def test_a_chart_turned_upside_down_says_the_same(points: list[float]) -> None:
    one, other = Chart(), Chart()
    for z in points:
        assert one.add(Center(0, 1), ChartRules(), z) == other.add(Center(0, 1), ChartRules(), -z)
        assert math.isclose(one.high, other.low)
