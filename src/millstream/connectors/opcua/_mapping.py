"""Between asyncua's objects and our values: structures on the way in, writes on the way out; and status to quality."""

from __future__ import annotations

import dataclasses
import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import from_binary, variant_to_binary

from millstream.connectors.opcua._address import Identifier, NodeAddress
from millstream.connectors.opcua._binary import BinaryReader, DataValue, node_id_text
from millstream.kernel import ConfigError, DecodeError
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, GOOD, Quality, Sample, Value

_OVERFLOW = 0x0480  # info type "data value" with the overflow bit (OPC 10000-4, 7.39.1)
_INTEGERS = {
    ua.VariantType.SByte: (-(2**7), 2**7 - 1), ua.VariantType.Byte: (0, 2**8 - 1),
    ua.VariantType.Int16: (-(2**15), 2**15 - 1), ua.VariantType.UInt16: (0, 2**16 - 1),
    ua.VariantType.Int32: (-(2**31), 2**31 - 1), ua.VariantType.UInt32: (0, 2**32 - 1),
    ua.VariantType.Int64: (-(2**63), 2**63 - 1), ua.VariantType.UInt64: (0, 2**64 - 1),
    ua.VariantType.StatusCode: (0, 2**32 - 1),
}  # fmt: skip
_FLOAT_MAX = 3.4028235677973366e38  # greater ones round to infinity as Float
_TYPE_NAMES = {int(kind): kind.name for kind in ua.VariantType}
_qualities: dict[int, Quality] = {0: GOOD}  # a few dozen codes exist; bounded by _QUALITIES_MAX
_QUALITIES_MAX = 4096


def is_overflow(status: int) -> bool:
    """True when the server had to drop values before this one (its queue was full)."""
    return status & _OVERFLOW == _OVERFLOW


def to_quality(status: int) -> Quality:
    """The quality of a StatusCode: all of it but the overflow bit, which is counted instead."""
    if is_overflow(status):
        status &= ~0x0080
        if status & 0xFFFF == 0x0400:
            status &= 0xFFFF0000
    found = _qualities.get(status)
    if found is None:
        found = Quality(status)
        if len(_qualities) < _QUALITIES_MAX:
            _qualities[status] = found
    return found


def to_sample(key: str, value: DataValue) -> Sample:
    """One sample. Good without a value is no value: BadDataUnavailable."""
    status = value.status
    quality = GOOD if status == 0 else to_quality(status)
    if value.value is None and quality.is_good:
        quality = BAD_DATA_UNAVAILABLE
    return Sample(key, value.value, quality, value.time_ns)


class StructureReader:
    """Decodes ExtensionObjects whose structure asyncua knows: the standard's, and the server's own once learned."""

    def __init__(self, namespaces: Sequence[str]) -> None:
        self.unknown: set[tuple[int, Identifier]] = set()  # bounded by the server's type count; cleared when learned
        self._namespaces = namespaces
        self._classes: dict[tuple[int, Identifier], type] = {}

    def learn(self, classes: Mapping[str, type]) -> None:
        """Take the classes that asyncua made of the server's definitions."""
        for found in classes.values():
            encoding = ua.typeid_by_extension_objects.get(found)
            if encoding is not None:
                self._classes[encoding.NamespaceIndex, encoding.Identifier] = found
        self.unknown.clear()

    def read(self, index: int, identifier: Identifier, body: bytes) -> Value:
        """The structure as a mapping of its fields. Raises KeyError when it is not known, ValueError when broken."""
        found = self._classes.get((index, identifier)) or ua.extension_objects_by_typeid.get(
            ua.NodeId(identifier, index)
        )
        if found is None:
            self.unknown.add((index, identifier))
            raise KeyError(identifier)
        try:
            decoded = from_binary(found, Buffer(body))
        except (ua.UaError, RecursionError) as error:
            raise ValueError(str(error)) from error
        return to_value(decoded, self._namespaces)


def to_value(item: Any, namespaces: Sequence[str]) -> Value:
    """One of asyncua's objects as a value; the same rules as `BinaryReader`'s."""
    match item:
        case None:
            return ""
        case Enum():
            return int(item.value)
        case bool() | int() | float() | str() | bytes():
            return item
        case list() | tuple():
            return [to_value(part, namespaces) for part in item]
        case datetime():
            return item.replace(tzinfo=None).isoformat() + "Z"
        case uuid.UUID():
            return str(item)
        case _:
            return _object_value(item, namespaces)


def _object_value(item: Any, namespaces: Sequence[str]) -> Value:
    match item:
        case ua.NodeId():
            uri = getattr(item, "NamespaceUri", None) or ""
            return node_id_text(item.NamespaceIndex, item.Identifier, namespaces, uri)
        case ua.QualifiedName():
            index, name = int(item.NamespaceIndex), str(item.Name or "")
            return (
                name
                if index == 0
                else f"nsu={namespaces[index]};{name}"
                if index < len(namespaces)
                else f"{index}:{name}"
            )
        case ua.LocalizedText():
            return str(item.Text or "")
        case ua.StatusCode():
            return int(item.value)
        case ua.Variant():
            return to_value(item.Value, namespaces)
        case ua.ExtensionObject():
            type_id = to_value(item.TypeId, namespaces)
            return {"type_id": type_id, "body": item.Body or b""} if item.Body or type_id != "i=0" else {}
        case _ if dataclasses.is_dataclass(item):
            # An absent optional field is left out; a mapping cannot hold "nothing".
            fields = ((field.name, getattr(item, field.name)) for field in dataclasses.fields(item))
            return {
                name: to_value(part, namespaces) for name, part in fields if part is not None and name != "Encoding"
            }
        case _:
            return str(item)


class WriteRefused(DecodeError):
    """A value does not fit the node's type; `quality` is what the write is answered with."""

    def __init__(self, reason: str, quality: Quality = BAD_TYPE_MISMATCH) -> None:
        super().__init__(reason)
        self.quality = quality


def as_read(variant: ua.Variant, namespaces: Sequence[str], structures: StructureReader) -> Value | None:
    """The value that a read of this Variant gives: the same rules, whatever the way that it came here."""
    return BinaryReader(variant_to_binary(variant), namespaces, structures.read).variant()


def to_variant(value: Value, kind: ua.VariantType, *, is_array: bool, namespaces: Sequence[str]) -> ua.Variant:
    """A value as the Variant that a node of type `kind` takes. Raises WriteRefused."""
    if kind is ua.VariantType.Variant:
        kind, is_array = _natural_type(value), isinstance(value, list)
    if is_array != isinstance(value, list):
        raise WriteRefused(f"expected {'an array' if is_array else 'one value'}, got {type(value).__name__}")
    if isinstance(value, list):
        flat, sizes = _flatten(value)
        items = [_to_native(item, kind, namespaces) for item in flat]
        dimensions = sizes if len(sizes) > 1 else None
        return ua.Variant(items, kind, dimensions, is_array=True)
    return ua.Variant(_to_native(value, kind, namespaces), kind)


def _natural_type(value: Value) -> ua.VariantType:
    """For a node that takes any type, and holds none now that would tell which it wants."""
    first = value
    while isinstance(first, list):
        first = first[0] if first else ""
    match first:
        case bool():
            return ua.VariantType.Boolean
        case int():
            return ua.VariantType.Int64 if first < 2**63 else ua.VariantType.UInt64
        case float():
            return ua.VariantType.Double
        case bytes():
            return ua.VariantType.ByteString
        case _:
            return ua.VariantType.String


def _flatten(value: list[Value]) -> tuple[list[Value], list[int]]:
    sizes = [len(value)]
    flat: list[Any] = value
    while flat and all(isinstance(item, list) for item in flat):
        inner = {len(item) for item in flat}
        if len(inner) != 1:
            raise WriteRefused("the rows of the array differ in length")
        sizes.append(inner.pop())
        flat = [part for item in flat for part in item]
    return flat, sizes


def _to_native(value: Value, kind: ua.VariantType, namespaces: Sequence[str]) -> Any:
    limits = _INTEGERS.get(kind)
    if limits is not None:
        return _integer(value, kind, limits)
    if kind in (ua.VariantType.Float, ua.VariantType.Double):
        return _float(value, kind)
    expected: type = bool if kind is ua.VariantType.Boolean else bytes if kind is ua.VariantType.ByteString else str
    if type(value) is not expected:
        raise WriteRefused(f"expected {expected.__name__} for {kind.name}, got {type(value).__name__}")
    if not isinstance(value, str):
        return value
    try:
        return _from_text(value, kind, namespaces)
    except (ValueError, ConfigError) as error:
        raise WriteRefused(f"not a {kind.name}: {value!r:.80}") from error


def _integer(value: Value, kind: ua.VariantType, limits: tuple[int, int]) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WriteRefused(f"expected an integer for {kind.name}, got {type(value).__name__}")
    if not limits[0] <= value <= limits[1]:
        raise WriteRefused(f"{value} does not fit {kind.name}", BAD_OUT_OF_RANGE)
    return ua.StatusCode(value) if kind is ua.VariantType.StatusCode else value


def _float(value: Value, kind: ua.VariantType) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise WriteRefused(f"expected a number for {kind.name}, got {type(value).__name__}")
    number = float(value)
    if kind is ua.VariantType.Float and math.isfinite(number) and abs(number) > _FLOAT_MAX:
        raise WriteRefused(f"{value} does not fit Float", BAD_OUT_OF_RANGE)
    return number


def _from_text(text: str, kind: ua.VariantType, namespaces: Sequence[str]) -> Any:
    match kind:
        case ua.VariantType.String:
            return text
        case ua.VariantType.LocalizedText:
            return ua.LocalizedText(text)
        case ua.VariantType.XmlElement:
            return ua.XmlElement(text)
        case ua.VariantType.DateTime:
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        case ua.VariantType.Guid:
            return uuid.UUID(text)
        case ua.VariantType.NodeId | ua.VariantType.ExpandedNodeId:
            address = NodeAddress.parse(text)
            index = address.index_in(namespaces)
            if index is None:
                raise ValueError("the server does not know the namespace")
            cls = ua.NodeId if kind is ua.VariantType.NodeId else ua.ExpandedNodeId
            return cls(address.identifier, index)
        case ua.VariantType.QualifiedName:
            return _qualified_name(text, namespaces)
        case _:
            raise ValueError("values of this type cannot be written")


def _qualified_name(text: str, namespaces: Sequence[str]) -> ua.QualifiedName:
    if not text.startswith("nsu="):
        return ua.QualifiedName(text, 0)
    uri, _, name = text[4:].partition(";")
    return ua.QualifiedName(name, list(namespaces).index(uri))


def type_name(data_type: ua.NodeId | None) -> str | None:
    """The name of a standard data type; None for a server's own."""
    if data_type is None or data_type.NamespaceIndex != 0 or not isinstance(data_type.Identifier, int):
        return None
    builtin = _TYPE_NAMES.get(data_type.Identifier)
    return builtin or ua.ObjectIdNames.get(data_type.Identifier)
