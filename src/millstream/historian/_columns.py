"""How values of any type lie in columns, and how they come back.

A value has a `kind`; numbers lie in `value` (float64). `whole` (int64) is set only where a float64 would round the
integer, so that counters are exact and the column costs nothing elsewhere. Text lies in `text`; bytes, lists,
mappings and integers beyond 64 bits lie there as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from millstream.kernel import DecodeError
from millstream.model import Value
from millstream.protocols.uns_payload import decode_value, encode_value

KIND_NONE, KIND_FLOAT, KIND_INT, KIND_BOOL, KIND_TEXT, KIND_JSON = range(6)
TYPE_NAMES = ("none", "float", "int", "bool", "text", "json")  # of the kinds, in their order
_KINDS: dict[type, int] = {
    type(None): KIND_NONE,
    float: KIND_FLOAT,
    int: KIND_INT,
    bool: KIND_BOOL,
    str: KIND_TEXT,
    bytes: KIND_JSON,
    list: KIND_JSON,
    dict: KIND_JSON,
}
_NUMBERS = {float, int, bool}
_EXACT_MAX = 2.0**53  # integers beyond this magnitude need `whole`
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
# DuckDB's TIMESTAMP_NS; whole years, so that day arithmetic at either end cannot overflow.
TIME_MIN_NS = -9_214_560_000_000_000_000  # 1678-01-01
TIME_MAX_NS = 9_214_646_400_000_000_000  # 2262-01-01

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]
Kinds = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ValueColumns:
    """`n` values; arrays of shape (n,). `whole` and `text` are sparse: position -> content."""

    kind: Kinds
    value: Floats
    whole: dict[int, int]
    text: dict[int, str]


def to_columns(values: Sequence[Value | None] | npt.NDArray[np.generic]) -> ValueColumns:
    """Values of any mixture as columns. Raises DecodeError for text that is not Unicode."""
    if isinstance(values, np.ndarray):
        return _from_array(values)
    types = set(map(type, values))
    n = len(values)
    if types == {float}:
        return ValueColumns(np.full(n, KIND_FLOAT, np.uint8), np.array(values, np.float64), {}, {})
    kind = np.fromiter((_KINDS[type(v)] for v in values), np.uint8, n)
    whole: dict[int, int] = {}
    text: dict[int, str] = {}
    if types <= _NUMBERS:
        try:
            value = np.array(values, np.float64)
        except OverflowError:  # an integer beyond the range of float64
            value = _mixed(values, text)
    else:
        value = _mixed(values, text)
    if int in types:
        for index in np.flatnonzero((kind == KIND_INT) & ~(np.abs(value) < _EXACT_MAX)).tolist():
            _keep_integer(index, cast("int", values[index]), kind, whole, text)
    return ValueColumns(kind, value, whole, text)


def _mixed(values: Sequence[Value | None], text: dict[int, str]) -> Floats:
    out = np.full(len(values), np.nan)
    for index, item in enumerate(values):
        kind = _KINDS[type(item)]
        if kind == KIND_TEXT:
            text[index] = _checked(cast("str", item))
        elif kind == KIND_JSON:
            text[index] = encode_value(item).decode()
        elif kind != KIND_NONE:
            try:
                out[index] = float(cast("float", item))
            except OverflowError:
                out[index] = np.inf if cast("int", item) > 0 else -np.inf
    return out


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DecodeError(f"value is not valid Unicode: {error}", code="MS-0302") from error
    return text


def _keep_integer(index: int, number: int, kind: Kinds, whole: dict[int, int], text: dict[int, str]) -> None:
    if _INT64_MIN <= number <= _INT64_MAX:
        whole[index] = number
    else:
        kind[index] = KIND_JSON
        text[index] = encode_value(number).decode()


def _from_array(values: npt.NDArray[np.generic]) -> ValueColumns:
    n = len(values)
    if values.dtype.kind == "f":
        return ValueColumns(np.full(n, KIND_FLOAT, np.uint8), values.astype(np.float64), {}, {})
    if values.dtype.kind == "b":
        return ValueColumns(np.full(n, KIND_BOOL, np.uint8), values.astype(np.float64), {}, {})
    if values.dtype.kind not in "iu":
        return to_columns(values.tolist())
    kind = np.full(n, KIND_INT, np.uint8)
    value = values.astype(np.float64)
    whole: dict[int, int] = {}
    text: dict[int, str] = {}
    for index in np.flatnonzero(np.abs(value) >= _EXACT_MAX).tolist():
        _keep_integer(index, int(cast("Any", values[index])), kind, whole, text)
    return ValueColumns(kind, value, whole, text)


def to_value(kind: int, value: float | None, whole: int | None, text: str | None) -> Value | None:
    """One value back from its columns."""
    if kind == KIND_FLOAT:
        return value
    if kind == KIND_INT:
        return whole if whole is not None else int(cast("float", value))
    if kind == KIND_BOOL:
        return bool(value)
    if kind == KIND_TEXT:
        return text
    return None if kind == KIND_NONE or text is None else decode_value(text)
