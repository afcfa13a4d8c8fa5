"""JSON Schema of the files, with the installed connectors' own sections, for editors (draft 2020-12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from millstream.config._edge import EdgeConfig
from millstream.config._hub import HubConfig, UpConfig
from millstream.kernel import ConfigError, format_duration
from millstream.sdk import Connector

MODELS: Mapping[str, type[BaseModel]] = {"edge": EdgeConfig, "hub": HubConfig, "up": UpConfig}
_REF = "#/$defs/"


def json_schema(role: str, connectors: Mapping[str, type[Connector]]) -> dict[str, Any]:
    """The schema of a file of `role` ("edge", "hub" or "up"). A connector that cannot be loaded is left unchecked."""
    schema = section_schema(MODELS[role])
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"Millstream {role} file"
    entry = schema["$defs"].get("ConnectorEntry")
    if entry is None:
        return schema
    entry["properties"]["config"] = {"type": "object", "description": entry["properties"]["config"].get("description")}
    entry["properties"]["type"]["enum"] = sorted(connectors)
    entry["allOf"] = [rule for name in sorted(connectors) if (rule := _rule(name, connectors, schema["$defs"]))]
    return schema


def section_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of one section; durations as they are written."""
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        for field in part.get("properties", {}).values():
            _write_duration(field)
    return schema


def _write_duration(field: dict[str, Any]) -> None:
    options = [field, *field.get("anyOf", [])]
    if isinstance(field.get("default"), float) and any("ns|us|ms" in str(o.get("pattern")) for o in options):
        field["default"] = format_duration(field["default"])


def _rule(name: str, connectors: Mapping[str, type[Connector]], defs: dict[str, Any]) -> dict[str, Any] | None:
    try:
        cls = connectors[name]
    except ConfigError:
        return None
    properties: dict[str, Any] = {"config": _adopt(name, "config", cls.Config, defs)}
    options = getattr(cls, "TagOptions", None)
    if options is not None:
        adopted = _adopt(name, "options", options, defs)
        properties["tags"] = {"items": {"properties": {"options": adopted}}}
    then: dict[str, Any] = {"properties": properties}
    if any(field.is_required() for field in cls.Config.model_fields.values()):
        then["required"] = ["config"]
    return {"if": {"properties": {"type": {"const": name}}}, "then": then}


def _adopt(name: str, part: str, model: type[BaseModel], defs: dict[str, Any]) -> dict[str, Any]:
    """Move a connector's schema into `defs` under names of its own."""
    own = section_schema(model)
    inner = own.pop("$defs", {})
    prefix = f"{name}.{part}"
    for key, value in inner.items():
        defs[f"{prefix}.{key}"] = _renamed(value, prefix)
    defs[prefix] = _renamed(own, prefix)
    return {"$ref": _REF + prefix}


def _renamed(value: Any, prefix: str) -> Any:
    if isinstance(value, dict):
        return {
            key: f"{_REF}{prefix}.{item.removeprefix(_REF)}"
            if key == "$ref" and isinstance(item, str)
            else _renamed(item, prefix)
            for key, item in value.items()
        }
    return [_renamed(item, prefix) for item in value] if isinstance(value, list) else value
