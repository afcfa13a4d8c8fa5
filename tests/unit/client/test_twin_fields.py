"""A field of a twin is found by its way, also where a tag's name has slashes."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.client._twin import field_of

TWIN: dict[str, Any] = {
    "state": {"value": "Execute"}, "order": None,
    "tags": {"speed": {"value": 1}, "spindle/speed": {"value": 2}, "spindle": {"value": 3}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state/value", "Execute"), ("state", {"value": "Execute"}), ("order", None), ("order/product", None),
        ("tags/speed/value", 1), ("tags/spindle/speed/value", 2), ("tags/spindle/value", 3),
        ("tags/torque/value", None),
        ("", None), ("state/value/more", None),
    ],
)  # fmt: skip
def test_the_longest_name_counts_and_what_is_not_there_is_none(field: str, value: Any) -> None:
    assert field_of(TWIN, field) == value
