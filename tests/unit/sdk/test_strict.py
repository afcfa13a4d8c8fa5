"""What is configured describes itself by the text under each field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, ValidationError

from millstream.sdk import Strict


class Scale(Strict):
    """A scale."""

    unit: str = "kg"
    """What it weighs in."""
    span: float = Field(default=1.0, description="Said by the field itself.")
    """Not this."""
    plain: int = 0


class Tared(Strict):
    """Holds another."""

    scale: Scale = Scale()
    """The scale below."""


class Heavy(Scale):
    """One more."""

    unit: str = "t"
    """In tonnes."""
    feet: int = Field(default=4, alias="legs")
    """How it stands."""


def described(model: type[Strict]) -> dict[str, Any]:
    return {name: field.get("description") for name, field in model.model_json_schema()["properties"].items()}


def test_the_text_under_a_field_is_its_description_in_the_schema() -> None:
    assert described(Scale) == {"unit": "What it weighs in.", "span": "Said by the field itself.", "plain": None}
    assert described(Tared) == {"scale": "The scale below."}
    assert described(Heavy) == {
        "unit": "In tonnes.", "span": "Said by the field itself.", "plain": None, "legs": "How it stands.",
    }  # fmt: skip


def test_a_class_without_source_has_a_schema_without_descriptions() -> None:
    space: dict[str, Any] = {"Strict": Strict}
    exec("class Made(Strict):\n    size: int = 0\n    'Lost.'\n", space)
    assert described(space["Made"]) == {"size": None}


def test_unknown_keys_and_changes_are_refused() -> None:
    with pytest.raises(ValidationError):
        Scale.model_validate({"units": "kg"})
    with pytest.raises(ValidationError):
        Scale().unit = "g"  # type: ignore[misc]
