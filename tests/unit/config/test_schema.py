"""The JSON Schema for editors agrees with what the loader accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millstream.config import json_schema

CASES = Path(__file__).resolve().parents[2] / "golden" / "config"


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [r for item in value.values() for r in references(item)]
    return [r for item in value for r in references(item)] if isinstance(value, list) else []


@pytest.mark.parametrize("role", ["edge", "hub", "up"])
def test_every_reference_leads_somewhere(role: str, catalog: object) -> None:
    schema = json_schema(role, catalog)  # type: ignore[arg-type]
    assert references(schema)
    for reference in references(schema):
        assert reference.removeprefix("#/$defs/") in schema["$defs"], reference
    json.dumps(schema)


def test_the_connectors_own_sections_are_in_it(catalog: object) -> None:
    schema = json_schema("edge", catalog)  # type: ignore[arg-type]
    rule = schema["$defs"]["ConnectorEntry"]["allOf"][0]
    assert rule["if"]["properties"]["type"]["const"] == "plc"
    assert "host" in schema["$defs"]["plc.config"]["properties"]
    assert "word_order" in schema["$defs"]["plc.options"]["properties"]
    assert rule["then"]["required"] == ["config"]
    assert schema["$defs"]["ConnectorEntry"]["properties"]["type"]["enum"] == ["gone", "plc"]


def test_durations_show_as_they_are_written(catalog: object) -> None:
    schema = json_schema("edge", catalog)  # type: ignore[arg-type]
    assert schema["$defs"]["ConnectorEntry"]["properties"]["sampling_interval"]["default"] == "1s"


def test_unknown_keys_are_refused_in_every_section(catalog: object) -> None:
    for name, section in json_schema("edge", catalog)["$defs"].items():  # type: ignore[arg-type]
        if "properties" in section:
            assert section["additionalProperties"] is False, name
