"""Mappings as structures: what a write to a tag of a structured type is made into."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from enum import Enum
from typing import Any

from asyncua import ua

from millstream.connectors.opcua._mapping import WriteRefused, to_variant
from millstream.model import Value

DEPTH_MAX = 20  # structures in structures
_NO_FIELDS = {"Encoding", "TypeId", "data_type"}


def to_structure(value: Value, kind: type, namespaces: Sequence[str], depth: int = 0) -> Any:
    """An object of asyncua's class `kind` from a mapping of all its fields. Raises WriteRefused."""
    if not isinstance(value, dict):
        raise WriteRefused(f"expected a mapping for {kind.__name__}, got {type(value).__name__}")
    if depth > DEPTH_MAX:
        raise WriteRefused("the structure is nested too deeply")
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.init and field.name not in _NO_FIELDS]
    missing = [name for name in names if name not in value and not _is_optional(hints[name])]
    unknown = [name for name in value if name not in names]
    if missing or unknown:
        raise WriteRefused(f"{kind.__name__} has the fields {', '.join(names)}; wrong: {', '.join(missing + unknown)}")
    return kind(**{n: _field(n, value[n], hints[n], namespaces, depth) for n in names if n in value})


def _field(name: str, value: Value, hint: Any, namespaces: Sequence[str], depth: int) -> Any:
    hint = _inner(hint)
    try:
        if typing.get_origin(hint) is list:
            if not isinstance(value, list):
                raise WriteRefused(f"expected a list, got {type(value).__name__}")
            (part,) = typing.get_args(hint)
            return [_single(item, _inner(part), namespaces, depth) for item in value]
        return _single(value, hint, namespaces, depth)
    except WriteRefused as error:
        raise WriteRefused(f"{name}: {error.what}", error.quality) from error


def _single(value: Value, hint: Any, namespaces: Sequence[str], depth: int) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError as error:
            raise WriteRefused(f"{value!r} is none of {hint.__name__}") from error
    built_in = ua.VariantType.__members__.get(getattr(hint, "__name__", ""))
    if built_in is not None and built_in is not ua.VariantType.ExtensionObject:
        return to_variant(value, built_in, is_array=False, namespaces=namespaces).Value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return to_structure(value, hint, namespaces, depth + 1)
    raise WriteRefused(f"fields of type {getattr(hint, '__name__', hint)} cannot be written")


def _is_optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _inner(hint: Any) -> Any:
    """The type without its "or None"."""
    if not _is_optional(hint):
        return hint
    return next(part for part in typing.get_args(hint) if part is not type(None))
