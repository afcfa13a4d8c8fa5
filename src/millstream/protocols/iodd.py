"""IO-Link device descriptions (IODD 1.1): which fields a device's process data has, with names, units and scales. Pure.

A description is XML that people download and hand on, so it is parsed as hostile: no document type (and so no
entities), a bounded size and number of elements, and no way to another file. Only process data is read; menus,
parameters and texts in other languages are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from xml.etree.ElementTree import Element

from millstream.kernel import DecodeError
from millstream.protocols.iolink_data import parse_field
from millstream.protocols.mtconnect_xml import parse_xml

DOCUMENT_BYTES_MAX = 8 << 20  # those of the IODDfinder have some 100 KiB, the largest a few MiB
FIELDS_COUNT_MAX = 512  # of one direction; a subindex is an octet, and layouts may depend on the device's mode
TEXT_CHARACTERS_MAX = 200
CODE = "MS-1654"
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
# Codes of units as in IODD-StandardUnitDefinitions, which are those of IEC 61987 and PROFIBUS PA: the usual ones, for
# descriptions that come without that file.
UNITS: Mapping[int, str] = MappingProxyType(
    {
        1000: "K", 1001: "°C", 1002: "°F", 1005: "°", 1010: "m", 1013: "mm", 1054: "s", 1058: "min", 1059: "h",
        1061: "m/s", 1077: "Hz", 1081: "kHz", 1082: "1/s", 1083: "1/min", 1088: "kg", 1092: "t", 1120: "N", 1130: "Pa",
        1133: "kPa", 1137: "bar", 1138: "mbar", 1190: "kW", 1209: "A", 1211: "mA", 1240: "V", 1342: "%", 1349: "m³/h",
        1353: "l/h",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One field. `field` is its type and place as in a tag's address, e.g. ``int16@16``."""

    name: str
    field: str
    unit: str | None = None
    factor: float = 1.0
    offset: float = 0.0
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """One layout of the process data. `bits` in all; `condition` when the device's mode decides whether it holds."""

    bits: int
    items: tuple[Item, ...]
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What a device description says of process data. `inputs` and `outputs` are seen from the master."""

    vendor_id: int
    device_id: int
    name: str
    inputs: tuple[Layout, ...] = ()
    outputs: tuple[Layout, ...] = ()

    def layout_for(self, octets_count: int, *, is_output: bool = False) -> Layout | None:
        """The layout for so many octets; None when there is none. The first where the device's mode decides."""
        layouts = self.outputs if is_output else self.inputs
        return next((layout for layout in layouts if (layout.bits + 7) // 8 == octets_count), None)


def parse_units(document: bytes) -> dict[int, str]:
    """The units of an IODD-StandardUnitDefinitions file by their codes. Raises DecodeError."""
    root = _root(document)
    return {
        int(unit.get("code", "")): _line(unit.get("abbr", ""))
        for unit in root.iter("Unit")
        if unit.get("code", "").isdecimal() and unit.get("abbr", "").strip()
    }


def parse_description(document: bytes, units: Mapping[int, str] = UNITS) -> Description:
    """A device description. Raises DecodeError."""
    root = _root(document)
    identity = root.find("ProfileBody/DeviceIdentity")
    if root.tag != "IODevice" or identity is None:
        raise DecodeError("no IO-Link device description", expected="an IODD (IODevice)", got=root.tag[:60], code=CODE)
    vendor_id, device_id = _number(identity, "vendorId"), _number(identity, "deviceId")
    if vendor_id is None or device_id is None:
        raise DecodeError("device description names no device", expected="vendorId and deviceId", code=CODE)
    reader = _Reader(root, units)
    parts = root.findall("ProfileBody/DeviceFunction/ProcessDataCollection/ProcessData")
    name = reader.text(identity.find("DeviceName")) or reader.text(identity.find("DeviceFamily"))
    return Description(
        vendor_id, device_id, name or f"device {device_id}",
        tuple(reader.layouts(parts, "ProcessDataIn")), tuple(reader.layouts(parts, "ProcessDataOut")),
    )  # fmt: skip


class _Reader:
    """Looks up texts, named types, and how values are shown."""

    def __init__(self, root: Element, units: Mapping[int, str]) -> None:
        self._units = units
        texts = root.findall("ExternalTextCollection/PrimaryLanguage/Text")
        self._texts = {text.get("id", ""): _line(text.get("value", "")) for text in texts}
        function = root.find("ProfileBody/DeviceFunction")
        types = [] if function is None else function.findall("DatatypeCollection/Datatype")
        self._types = {each.get("id", ""): each for each in types}
        self._shown: dict[tuple[str, int], Element] = {}
        for reference in root.iter("ProcessDataRef"):
            for info in reference:
                subindex = _number(info, "subindex") or 0
                self._shown.setdefault((reference.get("processDataId", ""), subindex), info)
        self._left = FIELDS_COUNT_MAX

    def text(self, element: Element | None) -> str:
        """The primary language's text that an element refers to."""
        return "" if element is None else self._texts.get(element.get("textId", ""), "")

    def layouts(self, parts: list[Element], tag: str) -> Iterator[Layout]:
        """Of one direction."""
        for part in parts:
            data = part.find(tag)
            if data is None:
                continue
            bits = _number(data, "bitLength") or 0
            condition = part.find("Condition")
            mode = None if condition is None else f"{condition.get('variableId')} is {condition.get('value')}"
            items = tuple(self._items(data, bits))
            yield Layout(bits, items, None if mode is None else _line(mode))

    def _items(self, data: Element, bits: int) -> Iterator[Item]:
        kind = self._type(data)
        if kind is None:
            return
        shown_as = data.get("id", "")
        if kind.get(_TYPE, "").rpartition(":")[2] != "RecordT":
            name = self.text(data.find("Name")) or "value"
            yield from self._fields(kind, bits, 0, (name, None), self._shown.get((shown_as, 0)))
            return
        for record in kind.findall("RecordItem"):
            inner, subindex = self._type(record, "SimpleDatatype"), _number(record, "subindex") or 0
            offset = _number(record, "bitOffset")
            if inner is None or offset is None:
                continue
            words = self.text(record.find("Name")) or f"subindex {subindex}", self.text(record.find("Description"))
            yield from self._fields(inner, 0, offset, words, self._shown.get((shown_as, subindex)))

    def _type(self, holder: Element, inline: str = "Datatype") -> Element | None:
        found = holder.find(inline)
        if found is None and (reference := holder.find("DatatypeRef")) is not None:
            found = self._types.get(reference.get("datatypeId", ""))
        return found

    def _fields(
        self, kind: Element, bits: int, offset: int, words: tuple[str, str | None], shown: Element | None
    ) -> Iterator[Item]:
        """The field, or one for each element of an array; nothing for a type that has no place in an address."""
        name, description = words
        if kind.get(_TYPE, "").rpartition(":")[2] == "ArrayT":
            inner, count = self._type(kind, "SimpleDatatype"), _number(kind, "count") or 0
            width = 0 if inner is None else _width(inner)
            for index in range(min(count, FIELDS_COUNT_MAX)):  # the first element lies highest
                if inner is not None and inner.get(_TYPE, "").rpartition(":")[2] != "ArrayT":
                    place = offset + (count - 1 - index) * width
                    yield from self._fields(inner, 0, place, (f"{name} {index + 1}", description), shown)
            return
        field = _field(kind, bits, offset)
        if field is None or self._left <= 0:
            return
        self._left -= 1
        code = None if shown is None else _number(shown, "unitCode")
        unit = None if code is None else self._units.get(code, f"unit code {code}")
        factor, plus = (1.0, 0.0) if shown is None else (_real(shown, "gradient", 1.0), _real(shown, "offset", 0.0))
        yield Item(name, field, unit, factor, plus, description or None)


def _width(kind: Element) -> int:
    name = kind.get(_TYPE, "").rpartition(":")[2]
    if name in ("StringT", "OctetStringT"):
        return 8 * (_number(kind, "fixedLength") or 0)
    return {"BooleanT": 1, "Float32T": 32, "TimeT": 64, "TimeSpanT": 64}.get(name) or _number(kind, "bitLength") or 0


def _field(kind: Element, bits: int, offset: int) -> str | None:
    name, width = kind.get(_TYPE, "").rpartition(":")[2], _width(kind) or bits
    made = {
        "BooleanT": "bool", "UIntegerT": f"uint{width}", "IntegerT": f"int{width}", "Float32T": "float32",
        "StringT": f"string{width // 8}", "OctetStringT": f"bytes{width // 8}", "TimeT": "bytes8",
        "TimeSpanT": "bytes8",
    }.get(name)  # fmt: skip
    if made is None:
        return None
    try:
        parse_field(f"{made}@{offset}")
    except DecodeError:
        return None
    return f"{made}@{offset}"


def _root(document: bytes) -> Element:
    if len(document) > DOCUMENT_BYTES_MAX:
        raise DecodeError("device description is too large", expected=f"at most {DOCUMENT_BYTES_MAX} bytes", code=CODE)
    try:
        return parse_xml(document)
    except DecodeError as error:
        raise DecodeError(f"no device description: {error.what}", got=error.got, code=CODE) from error


def _number(element: Element, name: str) -> int | None:
    text = element.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _real(element: Element, name: str, default: float) -> float:
    """What is no finite number, or no factor, is as if it were not there."""
    try:
        value = float(element.get(name, default))
    except ValueError:
        return default
    return value if math.isfinite(value) and (value or name != "gradient") else default


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:TEXT_CHARACTERS_MAX].strip()
