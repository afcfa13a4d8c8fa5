"""The base of every connector's configuration: frozen, strict, self-describing."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from millstream.kernel import ConfigError, format_duration, parse_duration_s
from millstream.sdk._strict import Strict


def _to_seconds(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_duration_s(value)
        except ConfigError as error:
            raise ValueError(f"{error.what}, expected {error.expected}, got {error.got}") from error
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value != 0:
        raise ValueError(f'a duration needs a unit, e.g. "{value}s" or "{value}ms"')
    return value


def _positive(value: float) -> float:
    if value < 0:
        raise ValueError("a duration cannot be negative")
    return value


Duration = Annotated[
    float,
    BeforeValidator(_to_seconds),
    AfterValidator(_positive),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ns|us|ms|s|min|m|h|d)$", "examples": ["500ms", "1s"]}),
]
"""Written "500ms" in YAML, seconds as float in code."""


class ConnectorConfig(Strict):
    """Subclass with typed fields and `Field(description=...)`: the source of validation, docs, schema and form."""
