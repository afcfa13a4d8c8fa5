"""Rows of a file, in the columns of an export, on their way into the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from millstream.historian._columns import TIME_MAX_NS, TIME_MIN_NS, TYPE_NAMES, to_columns
from millstream.historian._rows import Rows
from millstream.historian._tags import TagDictionary
from millstream.kernel import DecodeError
from millstream.model import TagPath, Value
from millstream.protocols.uns_payload import decode_value

COLUMNS = ("tag", "time_ns", "type", "number", "integer", "text", "quality")
_READ: dict[str, Callable[[Any, Any, Any], Value | None]] = {
    "none": lambda number, integer, text: None,
    "float": lambda number, integer, text: float(number),
    "int": lambda number, integer, text: int(integer),
    "bool": lambda number, integer, text: bool(number),
    "text": lambda number, integer, text: str(text),
    "json": lambda number, integer, text: decode_value(text),
}
assert tuple(_READ) == TYPE_NAMES


def check_rows(payload: bytes, kind: str, first_row: int = 1) -> None:
    """Whether these rows can be imported; the first one is row `first_row` of its file. Raises DecodeError."""
    import_rows(payload, TagDictionary(), kind, first_row)


def import_rows(payload: bytes, tags: TagDictionary, kind: str, first_row: int = 1) -> Rows:
    """Rows from Arrow IPC, in their order; names are interned. Raises DecodeError, before any name is."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(payload).read_all()
        table.validate(full=True)
        columns = {name: table.column(name).to_pylist() for name in COLUMNS}
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DecodeError(
            "rows cannot be imported", expected=f"the columns of an export: {', '.join(COLUMNS)}",
            got=str(error)[:120], code="MS-0433",
        ) from error  # fmt: skip
    try:
        values = [_value(*row) for row in zip(*(columns[name] for name in _VALUE), strict=True)]
        times, quality = np.array(columns["time_ns"], np.int64), np.array(columns["quality"], np.uint32)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _first_wrong(columns, first_row) from error
    if len(times) and not (times.min() >= TIME_MIN_NS and times.max() < TIME_MAX_NS):
        raise _first_wrong(columns, first_row)
    known: set[str] = set()
    for row, name in enumerate(columns["tag"], first_row):
        if name not in known:
            _check_tag(name, row)
            known.add(name)
    found = to_columns(values)
    tag_ids = np.array([tags.intern(name, kind) for name in columns["tag"]], np.uint32)
    order = np.arange(len(times), dtype=np.int64)
    return Rows(tag_ids, times, order, quality, found.kind, found.value, found.whole, found.text)


_VALUE = ("type", "number", "integer", "text")


def _value(type: Any, number: Any, integer: Any, text: Any) -> Value | None:
    return _READ[type](number, integer, text)


def _check_tag(name: Any, row: int) -> None:
    """Raises DecodeError."""
    try:
        plain = str(TagPath.parse("" if name is None else name))
    except DecodeError as error:
        raise _wrong(row, "tag", error.what, error.expected, name, error.code) from error
    if plain != name:
        raise _wrong(row, "tag", "not a path in its plain form", plain, name)


def _first_wrong(columns: dict[str, list[Any]], first_row: int) -> DecodeError:
    """The error of the first row that cannot be taken."""
    for at, row in enumerate(zip(*(columns[name] for name in COLUMNS), strict=True)):
        _, time_ns, *value, quality = row
        if not isinstance(time_ns, int) or not TIME_MIN_NS <= time_ns < TIME_MAX_NS:
            return _wrong(first_row + at, "time", "time cannot be kept", "years 1678 to 2261", time_ns)
        if not isinstance(quality, int) or not 0 <= quality < 2**32:
            return _wrong(first_row + at, "quality", "not a quality", "a status code of OPC UA, of 32 bits", quality)
        if value[0] not in _READ:
            return _wrong(first_row + at, "type", "not a type of values", ", ".join(_READ), value[0])
        try:
            _value(*value)
        except (TypeError, ValueError, OverflowError, DecodeError):
            column = {"float": "number", "bool": "number", "int": "integer"}.get(value[0], "text")
            got = dict(zip(_VALUE, value, strict=True))[column]
            return _wrong(first_row + at, column, "not a value of its type", value[0], got)
    return DecodeError("rows cannot be imported", expected="rows of an export", code="MS-0433")


def _wrong(
    row: int, column: str, what: str, expected: str | None, got: object, code: str = "MS-0433"
) -> DecodeError:  # fmt: skip
    return DecodeError(
        what, where=f"row {row}, column {column}", expected=expected, got=repr(got)[:60], code=code
    )  # fmt: skip
