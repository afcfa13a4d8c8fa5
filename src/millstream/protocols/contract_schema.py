"""The JSON Schema of contracts: the part of draft 2020-12 that is allowed, checking values, and comparing two schemas.

The allowed part is small, so that it can be decided whether whatever fits one schema also fits another. Everything
else is refused when a contract is published, not ignored when a value is checked. The validator is jsonschema-rs: it is
imported when the first schema is compiled, and patterns run in time linear in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from millstream.kernel import DecodeError, suggest

Schema: TypeAlias = "bool | Mapping[str, Any]"

SCHEMA_BYTES_MAX = 64 * 1024
SCHEMA_DEPTH_MAX = 16
REASON_LENGTH_MAX = 300
TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_ANNOTATIONS = frozenset({"$schema", "$id", "$comment", "title", "description", "examples", "default", "deprecated"})
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_KEYWORDS = (
    "type", "enum", "const", "anyOf", *_BOUNDS, "multipleOf", "minLength", "maxLength", "pattern", "items", "minItems",
    "maxItems", "uniqueItems", "properties", "required", "additionalProperties",
)  # fmt: skip
_HINTS = {
    "oneOf": "use anyOf",
    "allOf": "write the keywords into one schema",
    "$ref": "write the schema out",
    "format": "use pattern",
    "not": "say what is allowed instead",
}


class Validator:
    """A compiled schema. `is_valid` takes what JSON can hold, about 0.2 us for a number."""

    __slots__ = ("_compiled", "is_valid")

    def __init__(self, schema: Schema) -> None:
        from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

        try:
            self._compiled = Draft202012Validator(_plain(schema), pattern_options=RegexOptions())
        except ValidationError as error:
            raise DecodeError("not a JSON Schema", got=_short(error.message), code="MS-0331") from error
        self.is_valid: Callable[[Any], bool] = self._compiled.is_valid

    def reason(self, value: Any) -> tuple[str, str] | None:
        """What is wrong first, and the keyword that says so; None when nothing is."""
        error = next(iter(self._compiled.iter_errors(value)), None)
        if error is None:
            return None
        at = "".join(f"/{part}" for part in error.instance_path)
        return _short(f"{at[1:]}: {error.message}" if at else error.message), error.kind.name


def _short(text: str) -> str:
    return text if len(text) <= REASON_LENGTH_MAX else text[: REASON_LENGTH_MAX - 3] + "..."


def _plain(schema: Schema) -> Any:
    return schema if isinstance(schema, bool) else dict(schema)


# -- what is allowed --------------------------------------------------------------------------------------------------


def check_schema(schema: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """What keeps `schema` from being a contract's: where in it, and what; empty when nothing does."""
    try:
        size = len(msgspec.json.encode(schema))
    except (TypeError, ValueError, RecursionError, OverflowError, UnicodeEncodeError) as error:
        return [((), f"not JSON: {error}")]
    if size > SCHEMA_BYTES_MAX:
        return [((), f"{size} bytes, expected at most {SCHEMA_BYTES_MAX}")]
    found = list(_troubles(schema, (), 0))
    if not found:
        try:
            Validator(schema)
        except DecodeError as error:
            found = [((), f"{error.what}: {error.got}")]
    return found


def _troubles(schema: Any, at: tuple[str | int, ...], depth: int) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        yield at, "expected a schema: an object, true or false"
        return
    if depth > SCHEMA_DEPTH_MAX:
        yield at, f"nested deeper than {SCHEMA_DEPTH_MAX}"
        return
    for keyword in schema:
        if keyword not in _KEYWORDS and keyword not in _ANNOTATIONS and not str(keyword).startswith("x-"):
            near = _HINTS.get(keyword) or (f"did you mean {n!r}?" if (n := suggest(str(keyword), _KEYWORDS)) else None)
            yield (*at, keyword), f"keyword {keyword!r} is not for contracts" + (f"; {near}" if near else "")
    if "anyOf" in schema and (others := sorted(_limits(schema) - {"anyOf"})):
        yield (*at, "anyOf"), f"anyOf stands alone, expected no {', '.join(others)} beside it"
    for keyword in ("enum", "const"):
        if keyword in schema and (others := sorted(_limits(schema) - {keyword, "type"})):
            yield (*at, keyword), f"{keyword} stands alone, expected no {', '.join(others)} beside it"
    for where, part in _parts(schema):
        yield from _troubles(part, (*at, *where), depth + 1)


def _limits(schema: Mapping[str, Any]) -> set[str]:
    return {keyword for keyword in schema if keyword in _KEYWORDS}


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The schemas inside a schema."""
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield (keyword,), schema[keyword]
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        yield from ((("properties", name), part) for name, part in properties.items())
    branches = schema.get("anyOf")
    if isinstance(branches, Sequence) and not isinstance(branches, str):
        yield from ((("anyOf", i), part) for i, part in enumerate(branches))


# -- comparing --------------------------------------------------------------------------------------------------------


def narrowings(old: Schema, new: Schema, at: str = "") -> list[str]:
    """Why something that fits `old` may not fit `new`; empty only when everything that fits `old` fits `new`.

    It errs on one side: a change of which it cannot be shown that it takes nothing away is named. Both schemas have
    passed `check_schema`.
    """
    if new is True or old is False or (not isinstance(new, bool) and not _limits(new)):
        return []
    if isinstance(old, Mapping) and "anyOf" in old:
        return list(dict.fromkeys(reason for branch in old["anyOf"] for reason in narrowings(branch, new, at)))
    listed = _listed(old)
    if listed is not None:
        return _lost(listed, old, new, at)
    reasons = [reason for kind in _kinds(old) for reason in _narrowings_of(kind, _as_map(old), new, at)]
    return list(dict.fromkeys(reasons))


def _as_map(schema: Schema) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else {}


def _listed(schema: Schema) -> list[Any] | None:
    if isinstance(schema, bool):
        return None
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def _kinds(schema: Schema) -> tuple[str, ...]:
    if isinstance(schema, bool) or "type" not in schema:
        return tuple(kind for kind in TYPES if kind != "integer")
    named = schema["type"]
    kinds = [named] if isinstance(named, str) else list(named)
    return tuple(kind for kind in kinds if not (kind == "integer" and "number" in kinds))


def _lost(values: Sequence[Any], old: Schema, new: Schema, at: str) -> list[str]:
    before, after = Validator(old), Validator(new)
    lost = [value for value in values if before.is_valid(value) and not after.is_valid(value)]
    return [_said(at, f"no longer allowed: {_short(msgspec.json.encode(value).decode())}") for value in lost]


def _narrowings_of(kind: str, old: Mapping[str, Any], new: Schema, at: str) -> list[str]:
    """As `narrowings`, for the values of one type; `old` has neither enum nor anyOf."""
    if kind in ("null", "boolean"):
        return _lost([None] if kind == "null" else [False, True], {"type": kind}, new, at)
    if isinstance(new, bool):
        return [] if new else [_said(at, "nothing is allowed any more")]
    if "anyOf" in new:
        branches = [narrowings({**old, "type": kind}, branch, at) for branch in new["anyOf"]]
        return [] if any(not reasons for reasons in branches) else [_said(at, f"no branch of anyOf takes every {kind}")]
    if _listed(new) is not None:
        return [_said(at, f"only listed values are allowed now, before any such {kind}")]
    allowed = _kinds(new)
    if kind not in allowed and not (kind == "integer" and "number" in allowed):
        return [_said(at, f"type {kind} is no longer allowed")]
    return [_said(at, reason) if not reason.startswith("\0") else reason[1:] for reason in _RULES[kind](old, new, at)]


def _said(at: str, reason: str) -> str:
    return f"{at}: {reason}" if at else reason


def _numbers(old: Mapping[str, Any], new: Mapping[str, Any], at: str) -> Iterator[str]:
    for closed, open_, sign, word in (
        ("minimum", "exclusiveMinimum", 1, "lower"), ("maximum", "exclusiveMaximum", -1, "upper"),
    ):  # fmt: skip
        before, after = _bound(old, closed, open_, sign), _bound(new, closed, open_, sign)
        if after is not None and (before is None or after > before):
            yield f"the {word} bound is tighter"
    after_step, before_step = new.get("multipleOf"), old.get("multipleOf")
    if after_step is not None and after_step != before_step and not _divides(after_step, before_step):
        yield f"only multiples of {after_step} are allowed now"


def _bound(schema: Mapping[str, Any], closed: str, open_: str, sign: int) -> tuple[float, bool] | None:
    """The tighter one of both, as something that is greater when it is tighter."""
    found = [(sign * schema[name], name == open_) for name in (closed, open_) if name in schema]
    return max(found) if found else None


def _divides(step: float, multiple: float | None) -> bool:
    return isinstance(step, int) and isinstance(multiple, int) and multiple % step == 0


def _strings(old: Mapping[str, Any], new: Mapping[str, Any], at: str) -> Iterator[str]:
    yield from _lengths(old, new, "minLength", "maxLength")
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield "the pattern is another"


def _lengths(old: Mapping[str, Any], new: Mapping[str, Any], least: str, most: str) -> Iterator[str]:
    if new.get(least, 0) > old.get(least, 0):
        yield f"{least} is larger"
    if most in new and (most not in old or new[most] < old[most]):
        yield f"{most} is smaller"


def _arrays(old: Mapping[str, Any], new: Mapping[str, Any], at: str) -> Iterator[str]:
    yield from _lengths(old, new, "minItems", "maxItems")
    if new.get("uniqueItems") and not old.get("uniqueItems"):
        yield "items must differ now"
    yield from _inner(old.get("items", True), new.get("items", True), f"{at}[]")


def _objects(old: Mapping[str, Any], new: Mapping[str, Any], at: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    others_before, others_after = old.get("additionalProperties", True), new.get("additionalProperties", True)
    for name in new.get("required", ()):
        if name not in old.get("required", ()):
            yield f"{name!r} is required now"
    prefix = f"{at}." if at else ""
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name, others_before), after.get(name, others_after)
        reasons = list(_inner(was, now, f"{prefix}{name}"))
        if reasons and name not in before and others_before is True:
            yield f"{name!r} was free before; close an object with additionalProperties: false to add to it later"
        else:
            yield from reasons
    yield from _inner(others_before, others_after, f"{prefix}*")


def _inner(old: Schema, new: Schema, at: str) -> Iterator[str]:
    """Those of a part, which say where by themselves."""
    yield from ("\0" + reason for reason in narrowings(old, new, at))


_RULES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any], str], Iterator[str]]] = {
    "integer": _numbers,
    "number": _numbers,
    "string": _strings,
    "array": _arrays,
    "object": _objects,
}
