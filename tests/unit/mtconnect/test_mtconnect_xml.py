"""MTConnect documents: real device models, streams, and hostile XML."""

from __future__ import annotations

import gzip
from pathlib import Path

import pint
import pytest

from millstream.kernel import DecodeError
from millstream.model import BAD_DATA_UNAVAILABLE, GOOD
from millstream.protocols import mtconnect_xml
from millstream.protocols.mtconnect_xml import AgentError, Streams, parse_devices, parse_streams, parse_xml, pint_unit
from millstream.protocols.shdr import Kind

ROOT = Path(__file__).resolve().parents[3]
MAZAK = (ROOT / "src" / "millstream" / "sim" / "data" / "mazak01-devices.xml").read_bytes()
OKUMA = gzip.decompress((ROOT / "tests" / "data" / "okuma-devices.xml.gz").read_bytes())
T = "2026-01-01T00:00:00Z"


def streams(inner: str, header: str = 'instanceId="7" firstSequence="1" lastSequence="9" nextSequence="10"') -> bytes:
    """A document around one component's observations."""
    return (
        f'<MTConnectStreams xmlns="urn:mtconnect.org:MTConnectStreams:1.7"><Header {header}/><Streams><DeviceStream>'
        f"<ComponentStream>{inner}</ComponentStream></DeviceStream></Streams></MTConnectStreams>"
    ).encode()


@pytest.mark.parametrize(("document", "least"), [(MAZAK, 60), (OKUMA, 200)], ids=["mazak", "okuma"])
def test_a_real_device_model_gives_kinds_places_and_units(document: bytes, least: int) -> None:
    devices = parse_devices(document)
    assert len(devices.data_items) >= least
    assert all(item.unit() for item in devices.data_items if item.units)
    assert all(item.components for item in devices.data_items)


def test_the_mazaks_axis_is_in_millimetres_below_its_device() -> None:
    (item,) = [item for item in parse_devices(MAZAK).data_items if item.name == "Xabs"]
    assert (item.kind, item.unit(), item.components[0]) == (Kind.SAMPLE, "millimeter", "Mazak01")


def test_every_unit_is_a_pint_unit() -> None:
    registry = pint.UnitRegistry()
    for name in mtconnect_xml._UNITS.values():
        registry.Unit(name)
    assert pint_unit("FURLONG") is None
    assert pint_unit(None) is None


def test_streams_are_sorted_by_sequence_and_read_by_kind() -> None:
    inner = (
        f'<Samples><Position dataItemId="x" sequence="3" timestamp="{T}">1.5</Position>'
        f'<Position dataItemId="x" sequence="1" timestamp="{T}">UNAVAILABLE</Position></Samples>'
        f'<Condition><Warning dataItemId="c" sequence="2" timestamp="{T}" nativeCode="W1"'
        f' qualifier="HIGH">hot</Warning>'
        f'<Unavailable dataItemId="c" sequence="4" timestamp="{T}"/></Condition>'
        f'<Events><Message dataItemId="m" sequence="5" timestamp="{T}" nativeCode="7">hello</Message>'
        f'<Vars dataItemId="v" sequence="6" timestamp="{T}"><Entry key="a">0</Entry>'
        f'<Entry key="b" removed="true"/></Vars>'
        f'<Tab dataItemId="t" sequence="7" timestamp="{T}"><Entry key="r"><Cell key="x">1</Cell></Entry></Tab></Events>'
    )
    kinds = {"x": Kind.SAMPLE, "m": Kind.MESSAGE, "v": Kind.DATA_SET, "t": Kind.TABLE}
    document = parse_streams(streams(inner), kinds)
    assert isinstance(document, Streams)
    warning = {"level": "WARNING", "native_code": "W1", "native_severity": "", "qualifier": "HIGH", "text": "hot"}
    assert [(i.sequence, i.value, i.quality) for i in document.items] == [
        (1, None, BAD_DATA_UNAVAILABLE),
        (2, warning, GOOD),
        (3, 1.5, GOOD),
        (4, None, BAD_DATA_UNAVAILABLE),
        (5, {"native_code": "7", "text": "hello"}, GOOD),
        (6, {"a": 0.0}, GOOD),
        (7, {"r": {"x": 1.0}}, GOOD),
    ]


def test_an_error_document_is_an_answer() -> None:
    body = b"<MTConnectError><Errors><Error errorCode='OUT_OF_RANGE'>too old</Error></Errors></MTConnectError>"
    assert parse_streams(body) == AgentError("OUT_OF_RANGE", "too old")


BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    "document",
    [
        BOMB,
        BOMB.decode().encode("utf-16"),
        b'<!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>',
        b"",
        b"<html><body>",
        b"\xff\x00",
        b"<a>" * 100,
        b'<?xml version="1.0" encoding="no-such"?><a/>',
    ],
)
def test_hostile_or_broken_xml_is_one_clear_error(document: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_xml(document)
    assert caught.value.code == "MS-0305"


def test_bounds_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtconnect_xml, "ELEMENTS_COUNT_MAX", 10)
    with pytest.raises(DecodeError, match="elements"):
        parse_xml(b"<a>" + b"<b/>" * 20 + b"</a>")
    monkeypatch.setattr(mtconnect_xml, "DOCUMENT_BYTES_MAX", 10)
    with pytest.raises(DecodeError, match="too large"):
        parse_xml(b"<aaaaaaaaaaaaa/>")
    deep = b"".join(b"<Components><c>" for _ in range(40)) + b"".join(b"</c></Components>" for _ in range(40))
    monkeypatch.undo()
    with pytest.raises(DecodeError, match="nested"):
        parse_devices(b"<MTConnectDevices><Devices><Device>" + deep + b"</Device></Devices></MTConnectDevices>")


@pytest.mark.parametrize(
    "body",
    [
        b"<html/>",
        b"<MTConnectStreams/>",
        streams("", header='instanceId="x" firstSequence="1" lastSequence="1" nextSequence="1"'),
        streams(f'<Samples><P dataItemId="x" timestamp="{T}">1</P></Samples>'),
        streams('<Samples><P dataItemId="x" sequence="1" timestamp="soon">1</P></Samples>'),
    ],
)
def test_a_document_without_what_it_must_have_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_streams(body)
