"""IO-Link device descriptions: layouts with names, units and scales, and files that nobody should trust."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import millstream.sim
from millstream.kernel import DecodeError
from millstream.protocols.iodd import DOCUMENT_BYTES_MAX, FIELDS_COUNT_MAX, Item, parse_description, parse_units

SAMPLE = (
    Path(millstream.sim.__file__).parent / "data" / "iodd" / "Millstream-TempVib4-20261121-IODD1.1.xml"
).read_bytes()  # fmt: skip
HEAD = (
    '<IODevice xmlns="http://www.io-link.com/IODD/2010/10" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    '<ProfileBody><DeviceIdentity vendorId="310" deviceId="7"><DeviceName textId="N"/></DeviceIdentity><DeviceFunction>'
)
TAIL = (
    "</DeviceFunction></ProfileBody><ExternalTextCollection><PrimaryLanguage>"
    '<Text id="N" value="Sensor"/><Text id="A" value="Level"/></PrimaryLanguage></ExternalTextCollection></IODevice>'
)


def described(process_data: str, functions: str = "") -> bytes:
    """A description with this process data."""
    return f"{HEAD}{functions}<ProcessDataCollection>{process_data}</ProcessDataCollection>{TAIL}".encode()


def test_a_record_has_fields_with_names_units_and_scales() -> None:
    found = parse_description(SAMPLE, {1001: "°C", 1062: "mm/s"})
    assert (found.vendor_id, found.device_id, found.name) == (999, 101, "TempVib 4")
    (layout,) = found.inputs
    assert layout == found.layout_for(4)
    assert layout.items == (
        Item("Temperature", "int16@16", "°C", 0.1),
        Item("Vibration velocity", "uint12@4", "mm/s", 0.1, description="Root mean square of 10 Hz to 1 kHz"),
        Item("Switching signal", "bool@0"),
    )
    assert found.layout_for(3) is None
    assert found.layout_for(4, is_output=True) is None


def test_a_unit_that_is_in_no_table_is_told_by_its_code() -> None:
    assert parse_description(SAMPLE, {}).inputs[0].items[0].unit == "unit code 1001"
    units = parse_units(
        b'<IODDStandardUnitDefinitions><UnitCollection><Unit code="1062" abbr="mm/s"/><Unit code="x" abbr="y"/>'
        b"</UnitCollection></IODDStandardUnitDefinitions>"
    )
    assert units == {1062: "mm/s"}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ('<Datatype xsi:type="UIntegerT" bitLength="16"/>', ["uint16@0"]),
        ('<Datatype xsi:type="UIntegerT"/>', ["uint32@0"]),
        ('<Datatype xsi:type="Float32T"/>', ["float32@0"]),
        ('<Datatype xsi:type="OctetStringT" fixedLength="4"/>', ["bytes4@0"]),
        ('<DatatypeRef datatypeId="D"/>', ["int8@0"]),
        ('<DatatypeRef datatypeId="none"/>', []),
        (
            '<Datatype xsi:type="ArrayT" count="3"><SimpleDatatype xsi:type="IntegerT" bitLength="8"/></Datatype>',
            ["int8@16", "int8@8", "int8@0"],
        ),
        ('<Datatype xsi:type="ArrayT" count="999999999"><SimpleDatatype xsi:type="BooleanT"/></Datatype>', []),
        ('<Datatype xsi:type="ProcessDataInUnionT"/>', []),
        ('<Datatype xsi:type="IntegerT" bitLength="4000"/>', []),
    ],
)
def test_each_type_is_an_address_or_left_out(kind: str, fields: list[str]) -> None:
    types = '<DatatypeCollection><Datatype id="D" xsi:type="IntegerT" bitLength="8"/></DatatypeCollection>'
    data = f'<ProcessData><ProcessDataIn id="I" bitLength="32">{kind}<Name textId="A"/></ProcessDataIn></ProcessData>'
    (layout,) = parse_description(described(data, types)).inputs
    assert [item.field for item in layout.items][:3] == fields or len(layout.items) > 3 >= len(fields)
    assert len(layout.items) <= FIELDS_COUNT_MAX
    assert all(item.name.startswith("Level") for item in layout.items)


def test_the_mode_of_the_device_may_decide_which_layout_holds() -> None:
    data = "".join(
        f'<ProcessData><Condition variableId="V_Mode" value="{mode}"/><ProcessDataOut id="O{mode}" bitLength="{bits}">'
        f'<Datatype xsi:type="UIntegerT" bitLength="{bits}"/></ProcessDataOut></ProcessData>'
        for mode, bits in ((0, 8), (1, 16))
    )
    found = parse_description(described(data))
    layout = found.layout_for(2, is_output=True)
    assert layout is not None
    assert layout.condition == "V_Mode is 1"
    assert found.inputs == ()


HOSTILE = {
    "entities": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + SAMPLE.partition(b"?>")[2],
    "an external entity": b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + SAMPLE.partition(b"?>")[2],
    "no XML": b"\x50\x4b\x03\x04 a zip file",
    "another document": b"<MTConnectDevices/>",
    "no device": b"<IODevice><ProfileBody><DeviceIdentity vendorId='-1' deviceId='x'/></ProfileBody></IODevice>",
    "cut off": SAMPLE[:1000],
    "too large": SAMPLE + b" " * DOCUMENT_BYTES_MAX,
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_its_code(name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_description(HOSTILE[name])
    assert caught.value.code == "MS-1654"


@settings(max_examples=200)
@given(st.data())
def test_a_changed_file_is_refused_or_read(data: st.DataObject) -> None:
    numbers = list(re.finditer(rb'"[^"]*"', SAMPLE))
    raw = SAMPLE
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(numbers))
        new = data.draw(st.sampled_from([b'""', b'"-1"', b'"99999"', b'"1e999"', b'"nan"', b'"RecordT"', b'"ArrayT"']))
        raw = raw.replace(place[0], new)
    with contextlib.suppress(DecodeError):
        parse_description(raw)
