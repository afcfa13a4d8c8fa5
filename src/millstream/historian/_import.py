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


def check_rows(payload: bytes, kind: str) -> None:
    """Whether these rows can be imported. Raises DecodeError."""
    import_rows(payload, TagDictionary(), kind)


def import_rows(payload: bytes, tags: TagDictionary, kind: str) -> Rows:
    """Rows from Arrow IPC, in their order; names are interned. Raises DecodeError, before any name is."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(payload).read_all()
        table.validate(full=True)
        columns = {name: table.column(name).to_pylist() for name in COLUMNS}
        values = [
            _READ[type](number, integer, text)
            for type, number, integer, text in zip(
                columns["type"], columns["number"], columns["integer"], columns["text"], strict=True
            )
        ]
        times, quality = np.array(columns["time_ns"], np.int64), np.array(columns["quality"], np.uint32)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DecodeError(
            "rows cannot be imported", expected=f"the columns of an export: {', '.join(COLUMNS)}",
            got=str(error)[:120], code="MS-0433",
        ) from error  # fmt: skip
    if len(times) and not (times.min() >= TIME_MIN_NS and times.max() < TIME_MAX_NS):
        raise DecodeError("time cannot be kept", expected="years 1678 to 2261", code="MS-0433")
    for name in dict.fromkeys(columns["tag"]):
        plain = str(TagPath.parse(name))
        if plain != name:
            raise DecodeError("not a path in its plain form", expected=plain, got=name, code="MS-0433")
    found = to_columns(values)
    tag_ids = np.array([tags.intern(name, kind) for name in columns["tag"]], np.uint32)
    order = np.arange(len(times), dtype=np.int64)
    return Rows(tag_ids, times, order, quality, found.kind, found.value, found.whole, found.text)
