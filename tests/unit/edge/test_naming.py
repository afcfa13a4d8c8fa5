"""Names of devices become names of the namespace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.edge._naming import snake_case, unique
from millstream.model import AssetPath, TagPath


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SpindleTemp1", "spindle_temp1"),
        ("spindle_temp1", "spindle_temp1"),
        ("HTTPServerState", "http_server_state"),
        ("Temp. Öl (°C)", "temp_oel_deg_c"),
        ("DB1.Motor[3].Speed", "db1_motor_3_speed"),
        ("Motor drehzahl", "motor_drehzahl"),
        ("Débit", "debit"),
        ("温度", "温度"),
        ("Температура", "температура"),
        ("", "unnamed"),
        ("***", "unnamed"),
        ("A" * 100, "a" * 64),
        ("word " * 30, "_".join(["word"] * 13)[:64]),
    ],
)
def test_a_name_becomes_snake_case(text: str, name: str) -> None:
    assert snake_case(text) == name


@given(st.text())
def test_a_name_is_stable_bounded_and_fits_the_namespace(text: str) -> None:
    name = snake_case(text)
    assert 1 <= len(name) <= 64
    assert snake_case(name) == name
    assert " " not in name
    assert TagPath.parse(str(TagPath(AssetPath(("x",)), (name,)))).names == (name,)


@given(st.lists(st.sampled_from(["a", "a_2", "b" * 64, "b" * 62 + "_2"]), max_size=20))
def test_names_that_repeat_get_a_number(names: list[str]) -> None:
    taken: set[str] = set()
    found = [unique(name, taken) for name in names]
    assert len(set(found)) == len(found)
    assert all(len(name) <= 64 for name in found)
