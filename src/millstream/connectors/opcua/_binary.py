"""OPC UA Binary (OPC 10000-6, 5.2) straight to values: what arrives a thousand times a second.

asyncua builds an object for each part of each notification, about 30 us a value, and cuts times to microseconds. This
reader goes from the bytes of a response to `DataValue` tuples in about a tenth of that, keeps 100 ns, and contains a
poisoned value: it becomes one bad sample, the rest of the message stands.

How each built-in type becomes a value stands in the connector's README ("types").
"""

from __future__ import annotations

import base64
import struct
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from millstream.connectors.opcua._address import Identifier
from millstream.kernel import DecodeError
from millstream.model import Value

EPOCH_TICKS = 116_444_736_000_000_000  # 1970-01-01 in ticks of 100 ns since 1601-01-01
_TICKS_MAX = 2_650_467_743_990_000_000  # 9999-12-31T23:59:59
_NS_MAX = 2**63 - 1
NESTING_MAX = 50  # variants in variants, diagnostics in diagnostics
FLAWED_BYTES_MAX = 65_536  # of one poisoned value, kept for the dead-letter stream
_STATUS_BAD_DECODING = 0x80070000

_U16 = struct.Struct("<H").unpack_from
_I32 = struct.Struct("<i").unpack_from
_U32 = struct.Struct("<I").unpack_from
_I64 = struct.Struct("<q").unpack_from
_NUMBERS = {2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
_SCALARS: dict[int, tuple[Callable[..., tuple[Any, ...]], int]] = {
    key: ((s := struct.Struct("<" + code)).unpack_from, s.size) for key, code in _NUMBERS.items()
}


class DataValue(NamedTuple):
    """One value as the server stated it: `status` is a StatusCode, `time_ns` the source timestamp in UTC ns."""

    value: Value | None
    status: int
    time_ns: int | None


ExtensionReader = Callable[[int, Identifier, bytes], Value]
"""Namespace index, identifier of the encoding, body -> value. Raises KeyError for an unknown structure."""


def ticks_to_ns(ticks: int, picoseconds: int = 0) -> int | None:
    """UTC ns of a DateTime (100 ns since 1601); None for "no time" and for what 64-bit ns cannot say."""
    if ticks <= 0:
        return None
    time_ns = (ticks - EPOCH_TICKS) * 100 + picoseconds // 100
    return time_ns if -_NS_MAX <= time_ns <= _NS_MAX else None


def ticks_to_text(ticks: int) -> str:
    """A DateTime value as OPC UA's JSON writes it (OPC 10000-6, 5.4.2.6), without losing the 100 ns."""
    if ticks <= 0:
        return "0001-01-01T00:00:00Z"
    if ticks >= _TICKS_MAX:
        return "9999-12-31T23:59:59Z"
    seconds, fraction = divmod(ticks, 10_000_000)
    text = (datetime(1601, 1, 1) + timedelta(seconds=seconds)).isoformat()  # noqa: DTZ001 (the Z is written here)
    return f"{text}.{fraction:07d}".rstrip("0").rstrip(".") + "Z"


def node_id_text(index: int, identifier: Identifier, namespaces: Sequence[str], uri: str = "") -> str:
    """The text form of a node id, with the namespace's URI where the server's table has it."""
    if not uri and 0 < index < len(namespaces):
        uri = namespaces[index]
    prefix = f"nsu={uri.replace('%', '%25').replace(';', '%3B')};" if uri else f"ns={index};" if index else ""
    if isinstance(identifier, int):
        return f"{prefix}i={identifier}"
    if isinstance(identifier, str):
        return f"{prefix}s={identifier}"
    if isinstance(identifier, bytes):
        return f"{prefix}b={base64.b64encode(identifier).decode()}"
    return f"{prefix}g={identifier}"


class BinaryReader:
    """Reads from `data`, moving `at`. Raises DecodeError when the structure itself is broken.

    A value that is broken inside known bounds (text that is not UTF-8, an unreadable structure) is not an error: it is
    returned with BadDecodingError and its bytes stand in `flawed` with the reason.
    """

    __slots__ = ("_extension", "_flaw", "_namespaces", "at", "data", "flawed")

    def __init__(self, data: bytes, namespaces: Sequence[str] = (), extension: ExtensionReader | None = None) -> None:
        self.data = data
        self.at = 0
        self.flawed: list[tuple[bytes, str]] = []
        self._namespaces = namespaces
        self._extension = extension
        self._flaw: str | None = None

    # Primitives

    def byte(self) -> int:
        """One unsigned byte."""
        at = self.at
        self.at = at + 1
        return self.data[at]

    def u16(self) -> int:
        """UInt16."""
        at = self.at
        self.at = at + 2
        return _U16(self.data, at)[0]

    def i32(self) -> int:
        """Int32."""
        at = self.at
        self.at = at + 4
        return _I32(self.data, at)[0]

    def u32(self) -> int:
        """UInt32."""
        at = self.at
        self.at = at + 4
        return _U32(self.data, at)[0]

    def i64(self) -> int:
        """Int64."""
        at = self.at
        self.at = at + 8
        return _I64(self.data, at)[0]

    def raw(self) -> bytes:
        """ByteString; a null one is empty."""
        size = self.i32()
        if size <= 0:
            return b""
        at = self.at
        end = at + size
        if end > len(self.data):
            raise DecodeError("a length points behind the end of the message", got=str(size))
        self.at = end
        return self.data[at:end]

    def text(self) -> str:
        """String; a null one is empty, one that is not UTF-8 marks the value as flawed."""
        raw = self.raw()
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self._flaw = "text is not UTF-8"
            return ""

    def length(self) -> int:
        """Of an array; a null one is empty. At least one byte an element must follow."""
        count = self.i32()
        if count > len(self.data) - self.at:
            raise DecodeError("an array is longer than the message", got=str(count))
        return max(count, 0)

    def node_id(self) -> tuple[int, Identifier, str]:
        """NodeId or ExpandedNodeId: namespace index, identifier, namespace URI ("" without one)."""
        encoding = self.byte()
        kind = encoding & 0x3F
        index, identifier = self._identifier(kind)
        uri = self.text() if encoding & 0x80 else ""
        if encoding & 0x40:
            self.u32()  # the server index: this connector talks to one server
        return index, identifier, uri

    def _identifier(self, kind: int) -> tuple[int, Identifier]:
        if kind == 0:
            return 0, self.byte()
        if kind == 1:
            return self.byte(), self.u16()
        index = self.u16()
        if kind == 2:
            return index, self.u32()
        if kind == 3:
            return index, self.text()
        if kind == 4:
            return index, self.guid()
        if kind == 5:
            return index, self.raw()
        raise DecodeError("not a NodeId encoding", got=hex(kind))

    def guid(self) -> uuid.UUID:
        """Guid."""
        at = self.at
        self.at = at + 16
        return uuid.UUID(bytes_le=self.data[at : at + 16])

    # Values

    def data_value(self) -> DataValue:
        """DataValue (5.2.2.17)."""
        data, at = self.data, self.at
        mask = data[at]
        at += 1
        value: Any = None
        if mask & 0x01:
            number = _SCALARS.get(data[at])
            if number is not None:
                value = number[0](data, at + 1)[0]
                at += 1 + number[1]
            else:
                self.at = at
                value = self._contained()
                at = self.at
        status, ticks, picoseconds = 0, 0, 0
        if mask & 0x02:
            status = _U32(data, at)[0]
            at += 4
        if mask & 0x04:
            ticks = _I64(data, at)[0]
            at += 8
        if mask & 0x10:
            picoseconds = _U16(data, at)[0]
            at += 2
        at += (8 if mask & 0x08 else 0) + (2 if mask & 0x20 else 0)
        self.at = at
        if self._flaw is not None:
            self._flaw, value, status = None, None, _STATUS_BAD_DECODING
        return DataValue(value, status, ticks_to_ns(ticks, picoseconds))

    def fields(self) -> list[Value | None]:
        """The fields of an event; one that cannot be read is None and stands in `flawed`."""
        found: list[Value | None] = []
        for _ in range(self.length()):
            value = self._contained()
            found.append(value if self._flaw is None else None)
            self._flaw = None
        return found

    def _contained(self) -> Value | None:
        start = self.at
        value = self.variant()
        if self._flaw is not None:
            self.flawed.append((self.data[start : min(self.at, start + FLAWED_BYTES_MAX)], self._flaw))
        return value

    def variant(self, depth: int = 0) -> Value | None:
        """Variant (5.2.2.16); None when it holds nothing."""
        if depth > NESTING_MAX:
            raise DecodeError("values are nested too deeply", expected=f"at most {NESTING_MAX} levels")
        encoding = self.byte()
        kind = encoding & 0x3F
        if kind == 0:
            return None
        if not encoding & 0x80:
            return self._scalar(kind, depth)
        values = self._array(kind, depth)
        if encoding & 0x40:
            sizes = [self.i32() for _ in range(self.length())]
            return _shape(values, sizes)
        return values  # type: ignore[return-value]

    def _array(self, kind: int, depth: int) -> list[Value | None]:
        count = self.length()
        code = _NUMBERS.get(kind)
        if code is not None:
            layout = struct.Struct(f"<{count}{code}")
            at = self.at
            self.at = at + layout.size
            return list(layout.unpack_from(self.data, at))
        if kind == 1:
            at = self.at
            self.at = at + count
            return [byte != 0 for byte in self.data[at : at + count]]
        return [self._scalar(kind, depth) for _ in range(count)]

    def _scalar(self, kind: int, depth: int) -> Value | None:
        number = _SCALARS.get(kind)
        if number is not None:
            at = self.at
            self.at = at + number[1]
            return number[0](self.data, at)[0]
        read = _READERS.get(kind)
        if read is not None:
            return read(self)
        if kind == 23:
            value, status, time_ns = self._nested_data_value(depth)
            return {"value": value, "status": status, "source_time_ns": time_ns}  # type: ignore[dict-item]
        if kind == 24:
            return self.variant(depth + 1)
        if kind == 25:
            return self.diagnostics(depth)
        return self.raw()  # 26 to 31 are reserved: a reader takes them as ByteString (5.2.2.16)

    def _nested_data_value(self, depth: int) -> DataValue:
        mask = self.byte()
        value = self.variant(depth + 1) if mask & 0x01 else None
        status = self.u32() if mask & 0x02 else 0
        ticks = self.i64() if mask & 0x04 else 0
        picoseconds = self.u16() if mask & 0x10 else 0
        self.at += (8 if mask & 0x08 else 0) + (2 if mask & 0x20 else 0)
        return DataValue(value, status, ticks_to_ns(ticks, picoseconds))

    def diagnostics(self, depth: int = 0) -> dict[str, Value]:
        """DiagnosticInfo (5.2.2.12): the parts that are there."""
        if depth > NESTING_MAX:
            raise DecodeError("diagnostics are nested too deeply", expected=f"at most {NESTING_MAX} levels")
        mask = self.byte()
        found: dict[str, Value] = {}
        for bit, name in ((0x01, "symbolic_id"), (0x02, "namespace_uri"), (0x08, "locale"), (0x04, "localized_text")):
            if mask & bit:
                found[name] = self.i32()
        if mask & 0x10:
            found["additional_info"] = self.text()
        if mask & 0x20:
            found["inner_status_code"] = self.u32()
        if mask & 0x40:
            found["inner_diagnostic_info"] = self.diagnostics(depth + 1)
        return found

    def extension(self) -> Value:
        """ExtensionObject (5.2.2.15): a mapping where its structure is known, else type and body."""
        index, identifier, _uri = self.node_id()
        encoding = self.byte()
        body = self.raw() if encoding else b""
        if identifier == 0 and index == 0:
            return {}
        if encoding == 1 and self._extension is not None:
            try:
                return self._extension(index, identifier, body)
            except KeyError:
                pass  # the structure is not known: its bytes are passed on
            except (ValueError, struct.error, IndexError, TypeError, AttributeError) as error:
                self._flaw = f"structure cannot be read: {type(error).__name__}"
                return {}
        return {"type_id": node_id_text(index, identifier, self._namespaces), "body": body}

    def skip_extension(self) -> tuple[Identifier, int]:
        """Type and end of an ExtensionObject whose body starts at `at` now."""
        _index, identifier, _uri = self.node_id()
        encoding = self.byte()
        size = max(self.i32(), 0) if encoding else 0
        if self.at + size > len(self.data):
            raise DecodeError("a length points behind the end of the message", got=str(size))
        return identifier, self.at + size

    def expanded_text(self) -> str:
        """A NodeId as text."""
        index, identifier, uri = self.node_id()
        return node_id_text(index, identifier, self._namespaces, uri)

    def qualified_name(self) -> str:
        """A QualifiedName as OPC UA's JSON writes it: the name, after the URI unless it is standard."""
        index, name = self.u16(), self.text()
        if index == 0:
            return name
        return f"nsu={self._namespaces[index]};{name}" if index < len(self._namespaces) else f"{index}:{name}"

    def localized_text(self) -> str:
        """The text of a LocalizedText."""
        mask = self.byte()
        if mask & 0x01:
            self.text()
        return self.text() if mask & 0x02 else ""


def _shape(values: list[Value | None], sizes: list[int]) -> Value:
    """Nested lists of a flat array in row-major order; the flat array where the sizes do not fit it."""
    product = 1
    for size in sizes:
        product *= max(size, 0)
    if product != len(values) or not values:
        return values  # type: ignore[return-value]
    shaped: list[Any] = values
    for size in reversed(sizes[1:]):
        shaped = [shaped[i : i + size] for i in range(0, len(shaped), size)]
    return shaped


_READERS: dict[int, Callable[[BinaryReader], Value]] = {
    1: lambda reader: reader.byte() != 0,
    12: BinaryReader.text,
    13: lambda reader: ticks_to_text(reader.i64()),
    14: lambda reader: str(reader.guid()),
    15: BinaryReader.raw,
    16: BinaryReader.text,
    17: BinaryReader.expanded_text,
    18: BinaryReader.expanded_text,
    19: BinaryReader.u32,
    20: BinaryReader.qualified_name,
    21: BinaryReader.localized_text,
    22: BinaryReader.extension,
}
