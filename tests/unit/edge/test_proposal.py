"""What onboarding proposes: names, units that are sure, and deadbands of the size of the noise."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.config import unit_problem
from millstream.edge import _unit_words
from millstream.edge._naming import words
from millstream.edge._proposal import Observed, TagProposal, deadband, propose
from millstream.edge._unit_words import unit_of_device, unit_of_name
from millstream.model import BAD_NODE_ID_UNKNOWN, Sample
from millstream.sdk import NodeInfo


def one(node: NodeInfo, *values: object) -> TagProposal:
    """The proposal for a single node and its values."""
    samples = [Sample(node.address, value) for value in values]  # type: ignore[arg-type]
    return propose([node], {node.address: Observed(samples)})[0]


def test_every_unit_of_the_tables_is_known() -> None:
    tables = (_unit_words._SPELLINGS, _unit_words._LAST_WORD, _unit_words._LAST_TWO, _unit_words._GUESSES)
    units = {unit for table in tables for unit in table.values()}  # type: ignore[attr-defined]
    units |= {unit for unit, _ in _unit_words._LETTER_AFTER.values()}
    assert {unit: problem for unit in units if (problem := unit_problem(unit))} == {}


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("°C", "degC"), ("degC", "degC"), ("m³/h", "m**3/h"), ("U/min", "rpm"), ("1/min", "1/min"), ("%", "%"),
        ("bar", "bar"), ("kW h", "kWh"), ("MPa", "MPa"), ("mPa", "mPa"), ("nm", "nm"),
        ("Nm", "Nm"), ("mPa*s", "mPa*s"), ("Stk", "count"), ("µm", "um"),
        ("frobs", None), ("", None), ("  ", None), ("9**9**9", None),
    ],
)  # fmt: skip
def test_a_unit_of_a_device_is_said_in_pints_words(text: str, unit: str | None) -> None:
    assert unit_of_device(text) == unit


@pytest.mark.parametrize(
    ("name", "unit", "guess"),
    [
        ("SpindleSpeed_RPM", "rpm", None),
        ("feed_mm_min", "mm/min", None),
        ("Temp_C", "degC", None),
        ("phase_c", None, None),
        ("Druck_bar", "bar", None),
        ("EnergyKWh", "kWh", None),
        ("ActivePower_kW", "kW", None),
        ("motor_current_a", "A", None),
        ("zone_a", None, None),
        ("oil temperature", None, "degC"),
        ("temperature_alarm", None, None),
        ("bar", None, None),
        ("part_count", None, None),
        ("Öltemperatur °C", "degC", None),
    ],
)
def test_a_unit_in_a_name_is_taken_only_when_it_is_written_out(name: str, unit: str | None, guess: str | None) -> None:
    assert unit_of_name(words(name)) == (unit, guess)


def test_a_units_source_is_told_and_the_devices_own_comes_first() -> None:
    found = one(NodeInfo("a", "Temp_C", unit="°F"), 20.5)
    assert (found.unit, found.unit_source) == ("degF", "device")
    found = one(NodeInfo("a", "Temp_C"), 20.5)
    assert (found.unit, found.unit_source) == ("degC", "name")
    found = one(NodeInfo("a", "Temp_C", unit="frobs"), 20.5)
    assert (found.unit, found.unit_guess) == (None, "frobs")


@pytest.mark.parametrize("value", [True, "20 C", [1.0]])
def test_what_is_no_number_has_no_unit_from_its_name(value: object) -> None:
    assert one(NodeInfo("a", "Temp_C"), value).unit is None


def test_names_are_snake_case_below_what_the_nodes_do_not_share() -> None:
    nodes = [
        NodeInfo("1", "SpindleSpeed", ("Objects", "PLC 1", "Spindle")),
        NodeInfo("2", "spindle speed", ("Objects", "PLC 1", "Spindle")),
        NodeInfo("3", "Speed", ("Objects", "PLC 1")),
        NodeInfo("4", "Speed", ("Objects", "PLC 1", "Axis")),
    ]
    assert [p.name for p in propose(nodes, {})] == [
        "spindle/spindle_speed",
        "spindle/spindle_speed_2",
        "speed",
        "axis/speed",
    ]


@given(
    st.lists(
        st.builds(NodeInfo, st.text(min_size=1), st.text(), st.lists(st.text(), max_size=9).map(tuple)), max_size=12
    )
)
def test_each_node_has_a_name_of_its_own(nodes: list[NodeInfo]) -> None:
    names = [p.name for p in propose(nodes, {})]
    assert len(set(names)) == len(nodes)
    assert all(1 <= len(level) <= 64 for name in names for level in name.split("/"))


def test_a_tag_that_the_device_does_not_have_is_left_out() -> None:
    node = NodeInfo("a", "a")
    (found,) = propose([node], {"a": Observed([Sample("a", None, BAD_NODE_ID_UNKNOWN)])})
    assert found.is_left_out


def test_a_description_that_repeats_the_name_is_none() -> None:
    assert one(NodeInfo("a", "speed", description="speed")).description is None
    assert one(NodeInfo("a", "speed", description=" of the\nspindle ")).description == "of the spindle"


def noisy(sigma: float, count: int = 60, seed: int = 1, mean: float = 50.0) -> list[float]:
    chance = random.Random(seed)
    return [mean + 5 * math.sin(i / 20) + chance.gauss(0, sigma) for i in range(count)]


@given(st.floats(1e-3, 1.0), st.integers(0, 1000))
def test_a_deadband_is_of_the_size_of_the_noise_and_not_of_a_slow_wave(sigma: float, seed: int) -> None:
    chance = random.Random(seed)
    found = deadband([5 * math.sin(i / 4000) + chance.gauss(0, sigma) for i in range(200)])
    assert found is not None
    assert 0.5 * sigma < found < 6 * sigma


def test_a_jump_is_no_noise() -> None:
    values = noisy(0.01)
    values[30:] = [value + 1000 for value in values[30:]]
    assert (deadband(values) or 0) < 0.5


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 50,
        [float(i) for i in range(50)],
        [float(-i) for i in range(50)],
        noisy(0.1, 5),
        [],
        [1e308, -1e308] * 20,
    ],
)
def test_without_noise_there_is_no_deadband(values: list[float]) -> None:
    assert deadband(values) is None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=60))
def test_any_values_give_a_deadband_above_zero_or_none(values: list[float]) -> None:
    found = deadband(values)
    assert found is None or (found > 0 and math.isfinite(found))
    if found is not None:
        assert f"{found:.0e}"[0] in "125"


@pytest.mark.parametrize("kind", [int, bool, str])
def test_only_floats_get_a_deadband(kind: type) -> None:
    assert one(NodeInfo("a", "a"), *(kind(round(value)) for value in noisy(3.0))).deadband is None
    assert one(NodeInfo("a", "a"), *noisy(3.0)).deadband is not None
