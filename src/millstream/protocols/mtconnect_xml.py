"""MTConnect documents (Devices, Streams, Error) as data. Namespaces are ignored, so every version from 1.1 on reads.

The parser refuses a document type declaration (and with it every entity), more than ELEMENTS_COUNT_MAX elements and
more than DOCUMENT_BYTES_MAX bytes, since a document comes from the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from millstream.kernel import DecodeError
from millstream.model import BAD_DATA_UNAVAILABLE, Quality, Value
from millstream.protocols.shdr import Kind, decode_value, is_unavailable, parse_time_ns

DOCUMENT_BYTES_MAX = 64 << 20
ELEMENTS_COUNT_MAX = 2_000_000

# Event types whose value the standard defines as a whole number (MTConnect Part 2, event types).
_INTEGER_TYPES = frozenset({"PART_COUNT", "LINE_NUMBER", "TOOL_NUMBER", "BLOCK_COUNT", "CYCLE_COUNT"})

_UNITS = {
    "AMPERE": "ampere",
    "CELSIUS": "degC",
    "COUNT": "count",
    "COUNT/SECOND": "count/second",
    "CUBIC_MILLIMETER": "millimeter**3",
    "CUBIC_METER": "meter**3",
    "DECIBEL": "decibel",
    "DEGREE": "degree",
    "DEGREE_3D": "degree",
    "DEGREE/SECOND": "degree/second",
    "DEGREE/SECOND^2": "degree/second**2",
    "FAHRENHEIT": "degF",
    "GRAM": "gram",
    "HERTZ": "hertz",
    "HOUR": "hour",
    "INCH": "inch",
    "INCH/MINUTE": "inch/minute",
    "JOULE": "joule",
    "KILOGRAM": "kilogram",
    "KILOPASCAL": "kilopascal",
    "KILOWATT": "kilowatt",
    "KILOWATT_HOUR": "kilowatt_hour",
    "LITER": "liter",
    "LITER/SECOND": "liter/second",
    "METER": "meter",
    "MILLIMETER": "millimeter",
    "MILLIMETER_3D": "millimeter",
    "MILLIMETER/MINUTE": "millimeter/minute",
    "MILLIMETER/REVOLUTION": "millimeter/revolution",
    "MILLIMETER/SECOND": "millimeter/second",
    "MILLIMETER/SECOND^2": "millimeter/second**2",
    "MINUTE": "minute",
    "NEWTON": "newton",
    "NEWTON_METER": "newton*meter",
    "OHM": "ohm",
    "PASCAL": "pascal",
    "PERCENT": "percent",
    "POUND": "pound",
    "RADIAN": "radian",
    "REVOLUTION/MINUTE": "revolution/minute",
    "REVOLUTION/SECOND": "revolution/second",
    "SECOND": "second",
    "VOLT": "volt",
    "VOLT_AMPERE": "volt*ampere",
    "WATT": "watt",
    "WATT_SECOND": "watt*second",
}


@dataclass(frozen=True, slots=True)
class DataItem:
    """One data item of a device model. `components` leads from the device's name to the component's."""

    id: str
    name: str | None
    category: str
    type: str
    sub_type: str | None
    representation: str
    units: str | None
    native_units: str | None
    components: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """How its value reads."""
        if self.category == "CONDITION":
            return Kind.CONDITION
        by_representation = {
            "TIME_SERIES": Kind.TIME_SERIES,
            "DATA_SET": Kind.DATA_SET,
            "TABLE": Kind.TABLE,
        }.get(self.representation)
        if by_representation is not None:
            return by_representation
        if self.type == "MESSAGE":
            return Kind.MESSAGE
        if (self.units or "").endswith("_3D") or self.type == "PATH_POSITION":
            return Kind.THREE_SPACE
        if self.category == "SAMPLE" or self.units is not None:
            return Kind.SAMPLE
        return Kind.INTEGER if self.type in _INTEGER_TYPES else Kind.EVENT

    def unit(self, *, is_native: bool = False) -> str | None:
        """The unit as a pint name: `units` of an agent's values, `native_units` of an adapter's. None if unknown."""
        return pint_unit((self.native_units or self.units) if is_native else self.units)


@dataclass(frozen=True, slots=True)
class Devices:
    """A probe: who answered, and every data item in document order."""

    instance_id: int | None
    data_items: tuple[DataItem, ...]

    def kinds(self) -> dict[str, Kind]:
        """Kind by id and by name, as an SHDR adapter may use either."""
        by_id = {item.id: item.kind for item in self.data_items}
        return by_id | {item.name: item.kind for item in self.data_items if item.name}


@dataclass(frozen=True, slots=True)
class StreamedItem:
    """One observation from an agent."""

    data_item_id: str
    name: str | None
    sequence: int
    time_ns: int | None
    value: Value | None
    quality: Quality
    sample_rate_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Streams:
    """An agent's answer to current or sample. Sequences are the agent's own; `items` are in order of sequence."""

    instance_id: int
    first_sequence: int
    last_sequence: int
    next_sequence: int
    items: tuple[StreamedItem, ...]


@dataclass(frozen=True, slots=True)
class AgentError:
    """An MTConnectError document."""

    code: str
    text: str


class _Builder(ElementTree.TreeBuilder):
    """Builds the tree, and refuses what a data document never needs."""

    def __init__(self) -> None:
        super().__init__()
        self._elements_count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ElementTree.Element:
        """Open an element; namespaces are dropped."""
        self._elements_count += 1
        if self._elements_count > ELEMENTS_COUNT_MAX:
            raise DecodeError(
                "document has too many elements", expected=f"at most {ELEMENTS_COUNT_MAX}", code="MS-0305"
            )
        return super().start(tag.rpartition("}")[2], attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        """Close an element."""
        return super().end(tag.rpartition("}")[2])

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse: a document type declaration is the only way to entities."""
        raise DecodeError("document has a type declaration", expected="plain XML without DOCTYPE", code="MS-0305")


def parse_xml(document: bytes) -> ElementTree.Element:
    """The root element, hardened as the module says. Raises DecodeError."""
    if len(document) > DOCUMENT_BYTES_MAX:
        raise DecodeError("document is too large", expected=f"at most {DOCUMENT_BYTES_MAX} bytes", code="MS-0305")
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(document)
        root = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DecodeError(f"not XML: {error}", got=repr(document[:60]), code="MS-0305") from error
    if not isinstance(root, ElementTree.Element):
        raise DecodeError("document is empty", expected="an MTConnect document", code="MS-0305")
    return root


def parse_devices(document: bytes) -> Devices:
    """An MTConnectDevices document. Raises DecodeError."""
    root = _root(document, "MTConnectDevices")
    header = root.find("Header")
    instance = header.get("instanceId") if header is not None else None
    found: list[DataItem] = []
    for device in root.iterfind("Devices/*"):
        _collect(device, (), found)
    return Devices(int(instance) if instance is not None and instance.isdigit() else None, tuple(found))


def _collect(component: ElementTree.Element, above: tuple[str, ...], found: list[DataItem]) -> None:
    here = (*above, component.get("name") or component.get("id") or component.tag)
    if len(here) > 32:
        raise DecodeError("components are nested too deeply", expected="at most 32 levels", code="MS-0305")
    found.extend(
        DataItem(
            id=item.get("id", ""),
            name=item.get("name"),
            category=item.get("category", "EVENT"),
            type=item.get("type", ""),
            sub_type=item.get("subType"),
            representation=item.get("representation", "VALUE"),
            units=item.get("units"),
            native_units=item.get("nativeUnits"),
            components=here,
        )
        for item in component.iterfind("DataItems/DataItem")
        if item.get("id")
    )
    for child in component.iterfind("Components/*"):
        _collect(child, here, found)


def parse_streams(document: bytes, kinds: dict[str, Kind] | None = None) -> Streams | AgentError:
    """An MTConnectStreams document, or the error that the agent sent instead. Raises DecodeError.

    `kinds` (of `Devices.kinds`) says how the values read; a data item that is missing there reads as AUTO.
    """
    root = parse_xml(document)
    if root.tag == "MTConnectError":
        first = next(root.iter("Error"), None)
        if first is None:
            return AgentError("UNKNOWN", "an error without text")
        return AgentError(first.get("errorCode", "UNKNOWN"), (first.text or "").strip())
    if root.tag != "MTConnectStreams":
        raise DecodeError("not an MTConnectStreams document", got=root.tag, code="MS-0305")
    header = root.find("Header")
    if header is None:
        raise DecodeError("document has no Header", code="MS-0305")
    items = [
        _item(element, holder.tag, kinds or {})
        for component in root.iter("ComponentStream")
        for holder in component
        for element in holder
        if element.get("dataItemId")
    ]
    items.sort(key=lambda item: item.sequence)
    return Streams(
        _integer(header, "instanceId"),
        _integer(header, "firstSequence"),
        _integer(header, "lastSequence"),
        _integer(header, "nextSequence"),
        tuple(items),
    )


def _item(element: ElementTree.Element, holder: str, kinds: dict[str, Kind]) -> StreamedItem:
    item_id = element.get("dataItemId", "")
    kind = Kind.CONDITION if holder == "Condition" else kinds.get(item_id, Kind.AUTO)
    rate = element.get("sampleRate")
    value, quality = _value(element, kind)
    try:
        time_ns: int | None = parse_time_ns(element.get("timestamp", ""))
        rate_hz = float(rate) if rate else None
    except ValueError as error:
        raise DecodeError(f"observation of {item_id!r}: {error}", code="MS-0305") from error
    return StreamedItem(item_id, element.get("name"), _integer(element, "sequence"), time_ns, value, quality, rate_hz)


def _value(element: ElementTree.Element, kind: Kind) -> tuple[Value | None, Quality]:
    text = (element.text or "").strip()
    if kind is Kind.CONDITION:
        fields = (element.tag, *(element.get(key, "") for key in ("nativeCode", "nativeSeverity", "qualifier")), text)
        return decode_value(kind, fields)
    if len(element) and kind in (Kind.DATA_SET, Kind.TABLE):
        return {entry.get("key", ""): _entry(entry) for entry in element if entry.get("removed") != "true"}, Quality(0)
    if kind in (Kind.DATA_SET, Kind.TABLE):
        return (None, BAD_DATA_UNAVAILABLE) if is_unavailable(text) else ({}, Quality(0))
    if kind is Kind.MESSAGE:
        return decode_value(kind, (element.get("nativeCode", ""), text))
    return decode_value(kind, (text,))


def _entry(entry: ElementTree.Element) -> Value:
    if len(entry):
        return {cell.get("key", ""): _cell(cell) for cell in entry}  # a table: rows of cells, never deeper
    return _cell(entry)


def _cell(cell: ElementTree.Element) -> Value:
    text = cell.text or ""
    value, _ = decode_value(Kind.AUTO, (text,))
    return text if value is None else value


def _root(document: bytes, expected: str) -> ElementTree.Element:
    root = parse_xml(document)
    if root.tag != expected:
        raise DecodeError(f"not an {expected} document", got=root.tag, code="MS-0305")
    return root


def _integer(element: ElementTree.Element, name: str) -> int:
    text = element.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 21):
        raise DecodeError(f"{element.tag} has no number {name}", got=repr(text[:40]), code="MS-0305")
    return int(text)


def pint_unit(units: str | None) -> str | None:
    """The pint name of an MTConnect unit, None when it has none."""
    return _UNITS.get(units) if units else None
