"""What a check reports, and how errors of the models become it."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from millstream.config._types import dump_text
from millstream.config._yaml import Document, Loc
from millstream.kernel import suggest

FINDINGS_COUNT_MAX = 500  # of one file; the rest is counted in a last finding
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "mapping_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "path_type": "a file name",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong in a configuration file. `line` and `column` count from 1, `path` is the place inside
    the file such as ``connectors[0].tags[3].address``."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str | None = None
    code: str = "MS-0100"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        text = f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"
        return f"{text}; {self.hint} [{self.code}]" if self.hint else f"{text} [{self.code}]"

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return {name: getattr(self, name) for name in ("file", "line", "column", "path", "message", "hint", "code")}


def path_text(loc: Loc) -> str:
    """``("tags", 3, "unit")`` as ``tags[3].unit``."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class Findings:
    """Collects what is wrong in one document, each with its place."""

    def __init__(self, file: str, document: Document) -> None:
        self._file = file
        self._document = document
        self._found: dict[tuple[str, str], Finding] = {}
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._found)

    def add(
        self, loc: Loc, message: str, *, hint: str | None = None, of_key: bool = False, code: str = "MS-0100"
    ) -> None:
        """One finding at `loc`."""
        line, column = self._document.place(loc, of_key=of_key)
        file = self._document.file_at(loc)
        self.add_at(line, column, path_text(loc), message, hint=hint, code=code, file=file)

    def add_at(
        self, line: int, column: int, path: str, message: str, *, hint: str | None = None, code: str = "MS-0100",
        file: str | None = None,
    ) -> None:  # fmt: skip
        """One finding at a known place."""
        if len(self._found) >= FINDINGS_COUNT_MAX:
            self._dropped += 1
            return
        self._found.setdefault((path, message), Finding(file or self._file, line, column, path, message, hint, code))

    def add_validation(self, error: ValidationError, model: type[BaseModel], prefix: Loc = ()) -> None:
        """All errors of one validated section."""
        for detail in error.errors(include_url=False):
            loc = tuple(detail["loc"])
            message, hint = _explain(dict(detail), model, loc)
            is_key = detail["type"] == "extra_forbidden"
            code = getattr((detail.get("ctx") or {}).get("error"), "code", "MS-0100")
            self.add((*prefix, *_strip(model, loc)), message, hint=hint, of_key=is_key, code=code)

    def sorted(self) -> list[Finding]:
        """By place in the file."""
        found = sorted(self._found.values(), key=lambda f: (f.line, f.column, f.path))
        if self._dropped:
            found.append(Finding(self._file, 1, 1, "", f"and {self._dropped} more"))
        return found


def _explain(detail: Mapping[str, Any], model: type[BaseModel], loc: Loc) -> tuple[str, str | None]:
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = _known_keys(model, loc[:-1])
        near = suggest(str(loc[-1]), known)
        hint = f"did you mean '{near}'?" if near else f"known keys: {', '.join(sorted(known))}" if known else None
        return "unknown key", hint
    if kind == "missing":
        return "required key is missing", None
    if kind in _TYPES:
        return f"expected {_TYPES[kind]}, got {dump_text(detail['input'])}", None
    context = detail.get("ctx") or {}
    if kind == "value_error":
        return str(context.get("error", detail["msg"])), None
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", "")
        near = suggest(str(detail["input"]), [word.strip() for word in expected.replace(" or ", ",").split(",")])
        hint = f"did you mean '{near}'?" if near else None
        return f"expected {expected}, got {dump_text(detail['input'])}", hint
    text = str(detail["msg"]).removeprefix("Input should be ")
    if "should have" in text:
        text = text.partition(" should have ")[2].partition(" after validation")[0]
    return f"expected {text}, got {dump_text(detail['input'])}", None


def _strip(model: type[BaseModel], loc: Loc) -> Loc:
    """`loc` without the steps that pydantic adds for the members of unions, which are not in the file."""
    kept: list[str | int] = []
    for step in loc:
        if isinstance(step, str) and kept and ("[" in step or step in ("str", "int", "float", "bool", "dict", "list")):
            continue
        kept.append(step)
    return tuple(kept)


def _known_keys(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys of the section at `loc`, empty when it cannot be told."""
    current: Any = model
    for step in loc:
        current = _step(current, step)
    found = [c for c in _members(current) if isinstance(c, type) and issubclass(c, BaseModel)]
    return [field.alias or name for c in found for name, field in c.model_fields.items()]


def _step(annotation: Any, step: str | int) -> Any:
    for member in _members(annotation):
        if isinstance(step, str) and isinstance(member, type) and issubclass(member, BaseModel):
            field = member.model_fields.get(step)
            if field is not None:
                return field.annotation
        origin, arguments = get_origin(member), get_args(member)
        if isinstance(step, int) and origin in (tuple, list) and arguments:
            return arguments[0]
        if isinstance(step, str) and origin in (dict, Mapping) and len(arguments) == 2:
            return arguments[1]
    return None


def _members(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [m for argument in get_args(annotation) for m in _members(argument)]
    return [annotation]
