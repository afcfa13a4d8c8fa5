"""What a text frame says: its fields by a pattern, by columns or as JSON, and their values. Pure, no I/O.

Patterns are matched in time that grows with the length of the frame alone (RE2, which comes with pyarrow), so that no
device can stall the edge with a text made for it; look-around and back references are not in that language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from millstream.kernel import ConfigError, DecodeError
from millstream.model import Value

KINDS = ("text", "int", "float", "bool")
FRAME_FIELD, PEER_FIELD = "$frame", "$peer"
_ADDRESS = re.compile(r"(?P<name>\$frame|\$peer|[^\W_][\w.-]*)(?::(?P<kind>[a-z]+))?\Z")
_INTEGER = re.compile(r"([+-]?) *(\d{1,20})\Z", re.ASCII)
_NUMBER = re.compile(r"([+-]?) *(\d{0,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,3})?)\Z", re.ASCII)
_BOOLS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1


@dataclass(frozen=True, slots=True)
class Field:
    """One parsed address: the field's name in the frame and the type it is to have (None: as it is)."""

    name: str
    kind: str | None = None


def parse_field(text: str) -> Field:
    """``weight:float`` or ``code``. Raises ConfigError."""
    match = _ADDRESS.match(text.strip())
    if match is None or (match["kind"] is not None and match["kind"] not in KINDS):
        raise ConfigError(
            "not a field of a text frame",
            expected=f"a name, $frame or $peer, then nothing or one of :{', :'.join(KINDS)}",
            got=repr(text),
            code="MS-1900",
        )
    return Field(match["name"], match["kind"])


class _Absent:
    """The type of `ABSENT`."""


ABSENT = _Absent()
"""The frame leaves the field out; None means that it is there, but empty."""


class Fields(Protocol):
    """What one frame says."""

    def field(self, name: str) -> Any:
        """The field as it is in the frame, None when it is empty, else `ABSENT`."""
        ...


class Reader(Protocol):
    """Gives the fields of frames. `is_fixed`: each frame has the same fields, so an absent one is a mistake."""

    is_fixed: bool

    def check(self, name: str) -> None:
        """Raise ConfigError when no frame can have a field of that name."""
        ...

    def read(self, texts: Sequence[str]) -> list[Fields | DecodeError]:
        """The fields of each frame, or why it has none."""
        ...


@dataclass(frozen=True, slots=True)
class _Named:
    """Groups or columns."""

    texts: Mapping[str, str | None]

    def field(self, name: str) -> Any:
        return self.texts.get(name, ABSENT)


class PatternReader:
    """Named groups of the first pattern that matches."""

    is_fixed = False

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)
        self._names: list[set[str]] = []
        for pattern in self._patterns:
            try:
                found = _groups([], pattern).type
            except ValueError as error:
                raise ConfigError(
                    "pattern cannot be used",
                    expected="a regular expression of RE2 in which each group is (?P<name>..) or (?:..)",
                    got=f"{pattern!r}: {error}",
                    code="MS-1900",
                ) from error
            names = {found.field(i).name for i in range(found.num_fields)}
            if not names or len(names) != found.num_fields:
                raise ConfigError(
                    "pattern needs groups with different names",
                    expected="(?P<name>..)",
                    got=repr(pattern),
                    code="MS-1900",
                )
            self._names.append(names)

    def check(self, name: str) -> None:
        """A group of one of the patterns."""
        known = set().union(*self._names)
        if name not in known:
            raise ConfigError(
                "no pattern has such a group", expected=", ".join(sorted(known)), got=repr(name), code="MS-1900"
            )

    def read(self, texts: Sequence[str]) -> list[Fields | DecodeError]:
        """Groups that matched nothing or the empty text are absent."""
        found: list[Fields | DecodeError] = [DecodeError("no pattern matches") for _ in texts]
        waiting = list(range(len(texts)))
        for pattern in self._patterns:
            rows = _groups([texts[i] for i in waiting], pattern).to_pylist()
            for i, row in zip(waiting, rows, strict=True):
                if row is not None:
                    found[i] = _Named({name: value for name, value in row.items() if value})
            waiting = [i for i in waiting if isinstance(found[i], DecodeError)]
            if not waiting:
                break
        return found


def _groups(texts: Sequence[str], pattern: str) -> Any:
    """An array of structures of the pattern's groups. Raises ValueError for a pattern that is none."""
    import pyarrow as pa  # late: it is heavy, and most configurations have no pattern
    import pyarrow.compute as pc

    return pc.extract_regex(pa.array(texts, pa.string()), pattern)


class ColumnReader:
    """Columns counted from 1, cut at a separator; blanks around them are dropped."""

    is_fixed = True

    def __init__(self, separator: str, columns_count_min: int = 1) -> None:
        self._separator = None if separator.isspace() and separator != "\t" else separator
        self._count_min = columns_count_min

    def check(self, name: str) -> None:
        """A number from 1 on."""
        if not name.isascii() or not name.isdecimal() or int(name) < 1:
            raise ConfigError("columns have numbers", expected="1, 2, 3 ..", got=repr(name), code="MS-1900")

    def read(self, texts: Sequence[str]) -> list[Fields | DecodeError]:
        """Too few columns are no frame."""
        found: list[Fields | DecodeError] = []
        for text in texts:
            columns = [part.strip() or None for part in text.split(self._separator)]
            if len(columns) < self._count_min:
                found.append(
                    DecodeError("too few columns", expected=f"at least {self._count_min}", got=str(len(columns)))
                )
            else:
                found.append(_Named({str(number): part for number, part in enumerate(columns, 1)}))
        return found


class JsonReader:
    """Members of a JSON object, deeper ones by a path with dots; elements of lists by their number from 0."""

    is_fixed = False

    def check(self, name: str) -> None:
        """Any path may come."""

    def read(self, texts: Sequence[str]) -> list[Fields | DecodeError]:
        """See `Reader.read`."""
        return [_json_object(text) for text in texts]


def _json_object(text: str) -> Fields | DecodeError:
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return DecodeError("not JSON", got=str(error)[:80])
    if not isinstance(found, dict):
        return DecodeError("not a JSON object", got=type(found).__name__)
    return _Members(found)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, slots=True)
class _Members:
    """A JSON object; a member whose name has dots comes before a path."""

    members: Mapping[str, Any]

    def field(self, name: str) -> Any:
        if name in self.members:
            return self.members[name]
        value: Any = self.members
        for part in name.split("."):
            if isinstance(value, Mapping):
                value = value.get(part, ABSENT)
            elif isinstance(value, list) and part.isdecimal() and len(part) < 6 and int(part) < len(value):
                value = value[int(part)]
            else:
                return ABSENT
        return value


def to_value(raw: Any, kind: str | None, *, has_decimal_comma: bool = False) -> Value:
    """A field's value in the wanted type. Raises DecodeError when it cannot be had."""
    if isinstance(raw, str) and kind not in (None, "text"):
        return _from_text(raw.strip(), kind or "", has_decimal_comma=has_decimal_comma)
    if isinstance(raw, bool):
        if kind in (None, "bool"):
            return raw
    elif isinstance(raw, int):
        if not _INTEGER_MIN <= raw <= _INTEGER_MAX:
            raise DecodeError("number is too large", expected="64 bits", got=str(raw)[:40])
        if kind in (None, "int", "float"):
            return float(raw) if kind == "float" else raw
    elif isinstance(raw, float):
        if kind in (None, "float"):
            return raw
    elif isinstance(raw, str):
        return raw
    elif isinstance(raw, list) and kind is None:
        return [to_value(item, None) for item in raw]
    raise DecodeError("field has another type", expected=kind or "a value", got=repr(raw)[:40])


def _from_text(text: str, kind: str, *, has_decimal_comma: bool) -> Value:
    if kind == "bool":
        if text.casefold() in _BOOLS:
            return _BOOLS[text.casefold()]
    elif kind == "int":
        match = _INTEGER.match(text)
        value = int(match[1] + match[2]) if match else _INTEGER_MAX + 1
        if _INTEGER_MIN <= value <= _INTEGER_MAX:
            return value
    else:
        match = _NUMBER.match(text.replace(",", ".", 1) if has_decimal_comma else text)
        if match and any(digit.isdigit() for digit in match[2].partition("e")[0].partition("E")[0]):
            return float(match[1] + match[2])
    raise DecodeError(f"field is no {kind}", got=repr(text)[:40])
