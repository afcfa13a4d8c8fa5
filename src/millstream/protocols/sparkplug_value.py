"""Sparkplug values and their wire form: which field carries which datatype, sign rules, packed arrays (6.4.16, 6.4.17).

Written as the specification says. Read with some patience, since nodes differ in what the specification does not make
plain: an integer may come in either integer field and sign-extended or not, a float in either float field.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, cast

from millstream.kernel import DecodeError
from millstream.model import Value
from millstream.protocols.sparkplug import (
    METRIC_TYPES,
    DataSet,
    DataType,
    Metric,
    Property,
    PropertySet,
    Raw,
    RawValue,
    SparkplugValue,
    Template,
)

T = DataType
FLOAT_MAX = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
_INTEGERS = {  # bits, is signed
    T.INT8: (8, True),
    T.INT16: (16, True),
    T.INT32: (32, True),
    T.INT64: (64, True),
    T.UINT8: (8, False),
    T.UINT16: (16, False),
    T.UINT32: (32, False),
    T.UINT64: (64, False),
    T.DATETIME: (64, False),
}
_CONTAINER_BITS = {"int_value": 32, "long_value": 64}
_FLOATS = frozenset({T.FLOAT, T.DOUBLE})
_STRINGS = frozenset({T.STRING, T.TEXT, T.UUID})
_BINARY = frozenset({T.BYTES, T.FILE})
_PACKED = {
    T.INT8_ARRAY: "b",
    T.INT16_ARRAY: "h",
    T.INT32_ARRAY: "i",
    T.INT64_ARRAY: "q",
    T.UINT8_ARRAY: "B",
    T.UINT16_ARRAY: "H",
    T.UINT32_ARRAY: "I",
    T.UINT64_ARRAY: "Q",
    T.FLOAT_ARRAY: "f",
    T.DOUBLE_ARRAY: "d",
    T.DATETIME_ARRAY: "Q",
}
_OBJECTS = {
    T.DATASET: "dataset_value",
    T.TEMPLATE: "template_value",
    T.PROPERTY_SET: "propertyset_value",
    T.PROPERTY_SET_LIST: "propertysets_value",
}
_COUNT = struct.Struct("<I")


def datatype_of(code: int | None) -> DataType:
    """The datatype of a metric. Raises DecodeError for a code that no metric may have."""
    try:
        datatype = DataType(code or 0)
    except ValueError:
        datatype = T.UNKNOWN
    if datatype not in METRIC_TYPES:
        raise _misfit("metric has no datatype that a metric can have", "1 to 19 or 22 to 34", repr(code))
    return datatype


def interpret(raw: Raw, datatype: DataType) -> SparkplugValue:
    """The value that `raw` means as `datatype`. Raises DecodeError when it cannot be one."""
    if datatype in _INTEGERS:
        return _integer(raw, datatype)
    if datatype in _FLOATS:
        return cast("float", _take(raw, datatype, "float_value", "double_value"))
    if datatype is T.BOOLEAN:
        return cast("bool", _take(raw, datatype, "boolean_value"))
    if datatype in _STRINGS:
        return cast("str", _take(raw, datatype, "string_value"))
    if datatype in _OBJECTS:
        return _take(raw, datatype, _OBJECTS[datatype])
    if datatype is T.UNKNOWN:
        raise _misfit("value has no datatype", "one of the specification's", raw.field)
    content = cast("bytes", _take(raw, datatype, "bytes_value"))
    return content if datatype in _BINARY else unpack_array(content, datatype)


def to_raw(datatype: DataType, value: SparkplugValue) -> Raw:
    """The wire form of `value`. Raises DecodeError when it does not fit `datatype`."""
    if datatype in _INTEGERS:
        bits, is_signed = _INTEGERS[datatype]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _misfit(f"value does not fit {datatype.name}", f"an integer of {low} to {high}", repr(value)[:80])
        return Raw("long_value", value % (1 << 64)) if bits == 64 else Raw("int_value", value % (1 << 32))
    if datatype in _FLOATS:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _misfit(f"value does not fit {datatype.name}", "a number", repr(value)[:80])
        return _float(datatype, value)
    field, kinds = _field_of(datatype)
    if not isinstance(value, kinds) or (isinstance(value, bool) and datatype is not T.BOOLEAN):
        raise _misfit(f"value does not fit {datatype.name}", field.removesuffix("_value"), repr(value)[:80])
    if datatype in _PACKED or datatype in (T.BOOLEAN_ARRAY, T.STRING_ARRAY):
        return Raw("bytes_value", pack_array(cast("Sequence[Any]", value), datatype))
    return Raw(field, cast("RawValue", value))


def _field_of(datatype: DataType) -> tuple[str, tuple[type, ...]]:
    if datatype is T.BOOLEAN:
        return "boolean_value", (bool,)
    if datatype in _STRINGS:
        return "string_value", (str,)
    if datatype in _BINARY:
        return "bytes_value", (bytes,)
    if datatype in _OBJECTS:
        kinds = {T.DATASET: DataSet, T.TEMPLATE: Template, T.PROPERTY_SET: dict, T.PROPERTY_SET_LIST: tuple}
        return _OBJECTS[datatype], (kinds[datatype],)
    return "list", (list, tuple)


def _float(datatype: DataType, value: float) -> Raw:
    number = float(value) if -(1 << 1023) < value < (1 << 1023) or isinstance(value, float) else math.inf
    if math.isinf(number) and not isinstance(value, float):
        raise _misfit("value does not fit DOUBLE", "at most 1.8e308", repr(value)[:80])
    if datatype is T.DOUBLE:
        return Raw("double_value", number)
    if math.isfinite(number) and abs(number) > FLOAT_MAX:
        raise _misfit("value does not fit FLOAT", f"at most {FLOAT_MAX:g}", repr(value)[:80])
    return Raw("float_value", number)


def _integer(raw: Raw, datatype: DataType) -> int:
    bits, is_signed = _INTEGERS[datatype]
    value = cast("int", _take(raw, datatype, "int_value", "long_value"))
    if is_signed:
        container = _CONTAINER_BITS[raw.field]
        if value >> (container - 1):
            value -= 1 << container
        elif value >> (bits - 1) == 1:  # two's complement of the datatype's own width
            value -= 1 << bits
        is_inside = -(1 << bits - 1) <= value < 1 << bits - 1
    else:
        is_inside = not value >> bits
    if not is_inside:
        raise _misfit(f"value is out of the range of {datatype.name}", f"{bits} bits", str(value))
    return value


def _take(raw: Raw, datatype: DataType, *fields: str) -> RawValue:
    if raw.field not in fields:
        raise _misfit(f"value of {datatype.name} stands in a wrong field", " or ".join(fields), raw.field)
    return raw.value


def _misfit(what: str, expected: str, got: str) -> DecodeError:
    return DecodeError(what, expected=expected, got=got, code="MS-1502")


# -- arrays -----------------------------------------------------------------------------------------------------------


def pack_array(values: Sequence[Any], datatype: DataType) -> bytes:
    """An array as it travels in ``bytes_value``. Raises DecodeError when an element does not fit."""
    if datatype is T.BOOLEAN_ARRAY:
        if not all(isinstance(value, bool) for value in values):
            raise _misfit("array does not fit BOOLEAN_ARRAY", "booleans only", repr(values)[:80])
        bits = "".join("1" if value else "0" for value in values)
        size = (len(bits) + 7) // 8
        return _COUNT.pack(len(bits)) + (int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big") if bits else b"")
    if datatype is T.STRING_ARRAY:
        if not all(isinstance(value, str) and "\0" not in value for value in values):
            raise _misfit("array does not fit STRING_ARRAY", "strings without a zero character", repr(values)[:80])
        return "".join(f"{value}\0" for value in values).encode("utf-8", "strict")
    try:
        return struct.pack(f"<{len(values)}{_PACKED[datatype]}", *values)
    except (struct.error, OverflowError) as error:
        raise _misfit(f"array does not fit {datatype.name}", str(error), repr(values)[:80]) from error


def unpack_array(content: bytes, datatype: DataType) -> SparkplugValue:
    """The elements of an array. Raises DecodeError when the bytes are no such array."""
    if datatype is T.BOOLEAN_ARRAY:
        return _booleans(content)
    if datatype is T.STRING_ARRAY:
        return _strings(content)
    code = _PACKED.get(datatype)
    if code is None:
        raise _misfit(f"{datatype.name} is no array", "an array datatype", datatype.name)
    count, rest = divmod(len(content), struct.calcsize(f"<{code}"))
    if rest:
        raise _misfit(f"{datatype.name} breaks off", "whole elements", f"{len(content)} bytes")
    return list(struct.unpack(f"<{count}{code}", content))


def _booleans(content: bytes) -> list[bool]:
    count = _COUNT.unpack_from(content)[0] if len(content) >= _COUNT.size else -1
    if count < 0 or len(content) - _COUNT.size != (count + 7) // 8:
        raise _misfit("BOOLEAN_ARRAY has a wrong length", "a count of four bytes, then its bits", content[:8].hex())
    return [bool(content[_COUNT.size + i // 8] >> (7 - i % 8) & 1) for i in range(count)]


def _strings(content: bytes) -> list[str]:
    if content and not content.endswith(b"\0"):
        raise _misfit("STRING_ARRAY breaks off", "a zero byte behind each string", content[-8:].hex())
    try:
        return content.decode("utf-8").split("\0")[:-1]
    except UnicodeDecodeError as error:
        raise _misfit("STRING_ARRAY is not UTF-8", "UTF-8", str(error)) from error


# -- towards the namespace --------------------------------------------------------------------------------------------


def plain(value: SparkplugValue, definition: Template | None = None) -> Value:
    """The value as a tag holds it: tables, templates and property sets become dictionaries.

    `definition` gives the datatypes of a template instance's members where the instance leaves them out. Raises
    DecodeError when a member cannot be read.
    """
    if isinstance(value, DataSet):
        rows: list[Value] = [[cast("Value", cell) for cell in row] for row in value.rows]
        return {"columns": list(value.columns), "types": [t.name.lower() for t in value.types], "rows": rows}
    if isinstance(value, Template):
        return _plain_template(value, definition)
    if isinstance(value, tuple):
        return [plain_properties(each) for each in value]
    if isinstance(value, dict):
        return plain_properties(value)
    return cast("Value", value)


def plain_properties(properties: PropertySet) -> dict[str, Value]:
    """Names and values; those that are null are left out."""
    return {name: _plain_property(each) for name, each in properties.items() if each.value is not None}


def _plain_property(found: Property) -> Value:
    return plain(cast("SparkplugValue", found.value))


def _plain_template(value: Template, definition: Template | None) -> Value:
    known = {m.name: m.datatype for m in definition.metrics} if definition is not None else {}
    members: dict[str, Value] = {}
    for metric in value.metrics:
        content = member_value(metric, known.get(metric.name))
        if content is not None:
            members[metric.name or ""] = plain(content)
    found: dict[str, Value] = {"metrics": members}
    if value.template_ref is not None:
        found["template_ref"] = value.template_ref
    if value.version is not None:
        found["version"] = value.version
    if value.parameters:
        found["parameters"] = {p.name: p.value for p in value.parameters if p.value is not None}
    return found


def member_value(metric: Metric, datatype: int | None = None) -> SparkplugValue | None:
    """The value of a metric whose datatype stands in itself, or is `datatype`; None when it is null.

    Raises DecodeError."""
    if metric.raw is None:
        if metric.fault is not None:
            raise DecodeError(metric.fault, code="MS-1502")
        return None
    return interpret(metric.raw, datatype_of(metric.datatype if metric.datatype else datatype))
