"""Fields of process data, and what masters answer."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import DecodeError
from millstream.model import (
    BAD_DATA_UNAVAILABLE,
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    Value,
)
from millstream.protocols.iolink_data import Field, Point, decode_field, encode_field, parse_field, parse_point
from millstream.protocols.iolink_master import (
    POINTS_ASKED_MAX,
    iotcore_path,
    plan_iotcore,
    plan_json,
    quality_of_error,
    read_iotcore,
    read_json,
    with_substitutes,
)
from millstream.protocols.mqtt_mapping import Payload, parse_address

OCTETS = bytes([0xFF, 0x38, 0x12, 0x35])  # -200, 0x123, 0, 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int16@16", -200),
        ("uint16@16", 0xFF38),
        ("uint12@4", 0x123),
        ("uint4@0", 5),
        ("bool@0", True),
        ("bool@1", False),
        ("int4@0", 5),
        ("uint32@0", 0xFF381235),
        ("bytes2@8", b"\x38\x12"),
        ("float32@0", struct.unpack(">f", OCTETS)[0]),
    ],
)
def test_a_field_is_cut_out_as_the_description_counts(text: str, value: Value) -> None:
    assert decode_field(parse_field(text), OCTETS) == value


def test_a_text_ends_at_its_first_zero_octet_and_all_octets_are_a_value_too() -> None:
    assert decode_field(parse_field("string4@0"), b"ab\0x") == "ab"
    assert decode_field(None, OCTETS) == OCTETS


@pytest.mark.parametrize(
    ("text", "octets"), [("int16@16", b"\x01\x02\x03"), ("string2@0", b"\xff\xff"), ("bool@8", b"\1")]
)
def test_octets_that_do_not_hold_the_field_are_refused(text: str, octets: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_field(parse_field(text), octets)


@given(
    st.sampled_from(["int", "uint"]),
    st.integers(2, 64),
    st.integers(0, 192),
    st.binary(min_size=32, max_size=32),
    st.data(),
)
def test_a_number_that_is_set_is_read_again_and_its_neighbours_stay(
    kind: str, bits: int, offset: int, octets: bytes, data: st.DataObject
) -> None:
    field = Field(kind, bits, offset)  # type: ignore[arg-type]
    low = -(1 << bits - 1) if kind == "int" else 0
    value = data.draw(st.integers(low, low + (1 << bits) - 1))
    changed = encode_field(field, value, octets)
    assert decode_field(field, changed) == value
    assert encode_field(field, decode_field(field, octets), changed) == octets
    for wrong in (low - 1, low + (1 << bits)):
        with pytest.raises(OverflowError):
            encode_field(field, wrong, octets)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("bool@0", True, b"\0\0\0\1"),
        ("float32@0", 1.5, struct.pack(">f", 1.5)),
        ("string4@0", "ab", b"ab\0\0"),
        ("bytes2@16", b"\1\2", b"\1\2\0\0"),
        ("bool@0", 1, TypeError),
        ("int16@0", 1.0, TypeError),
        ("uint4@0", True, TypeError),
        ("float32@0", "1", TypeError),
        ("string4@0", b"ab", b"ab\0\0"),
        ("string4@0", 1, TypeError),
        ("string1@0", "ab", OverflowError),
        ("uint8@32", 1, OverflowError),
    ],
)
def test_only_a_value_of_the_fields_type_and_range_is_set(
    text: str, value: Value, expected: bytes | type[Exception]
) -> None:
    if isinstance(expected, bytes):
        assert encode_field(parse_field(text), value, bytes(4)) == expected
    else:
        with pytest.raises(expected):
            encode_field(parse_field(text), value, bytes(4))


def test_whole_output_data_has_to_have_its_length() -> None:
    assert encode_field(None, b"\1\2", bytes(2)) == b"\1\2"
    for wrong in (b"\1", [1, 2]):
        with pytest.raises(TypeError):
            encode_field(None, wrong, bytes(2))


@pytest.mark.parametrize(
    "text",
    [
        "", "port1", "port1:", "port1:in:", "port1:in:int16", "port1:in:int1@0", "port1:in:uint65@0", "data:x",
        "port1:in:float64@0", "port1:in:string2@3", "port1:in:int16@250", "port1:in:bool8@0", "port 1:in", "a-b:in",
        "port1:nothing",
    ],
)  # fmt: skip
def test_an_address_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_point(text)


@given(st.text(max_size=40))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with suppress(DecodeError):
        parse_point(text)


def test_devices_are_asked_once_and_data_points_together() -> None:
    points = [
        parse_point(text) for text in ("port1:in:bool@0", "port1:in:bool@1", "port1:pin2", "Pump:out", "port2:status")
    ]
    assert [(ask.path, ask.members) for ask in plan_json(points)] == [
        ("/devices/master1port1/processdata/getdata/value?format=byteArray", (0, 1, 2)),
        ("/devices/Pump/processdata/setdata/value?format=byteArray", (3,)),
        ("/masters/1/ports", (4,)),
    ]
    many = [Point(f"/p{i}", "data") for i in range(POINTS_ASKED_MAX + 1)]
    asks = plan_iotcore([*many, many[0]])
    assert [len(ask.members) for ask in asks] == [POINTS_ASKED_MAX + 1, 1]
    assert asks[0].body is not None
    assert "/getdata" not in str(asks[0].body["data"])


@pytest.mark.parametrize("text", ["Pump:in", "master2port1:in", "port1:events", "port1:pin4"])
def test_an_iot_core_lacks_some_things(text: str) -> None:
    with pytest.raises(DecodeError):
        iotcore_path(parse_point(text))


IN = {"iolink": {"valid": True, "value": [255, 56, 18, 53]}, "iqValue": True}


@pytest.mark.parametrize(
    ("address", "document", "reading"),
    [
        ("port1:in:int16@16", IN, (-200, GOOD)),
        ("port1:in:int16@16", {"getData": IN}, (-200, GOOD)),
        ("port1:pin2", IN, (True, GOOD)),
        ("port1:pin4", IN, (None, BAD_DATA_UNAVAILABLE)),
        ("port1:in", {"cqValue": False}, (None, BAD_DATA_UNAVAILABLE)),
        ("port1:in", {"iolink": {"valid": False, "value": [0]}}, (None, BAD_DATA_UNAVAILABLE)),
        ("port1:in", {"iolink": {"valid": True, "value": [256]}}, (None, BAD_DECODING_ERROR)),
        ("port1:in", {"iolink": {"valid": True, "value": {"Temp": 1}}}, (None, BAD_DECODING_ERROR)),
        ("port1:in", {"iolink": {"valid": True, "value": [0] * 33}}, (None, BAD_DECODING_ERROR)),
        ("port1:in:int16@16", {"iolink": {"valid": True, "value": [1]}}, (None, BAD_DECODING_ERROR)),
        ("port1:in", [], (None, BAD_DECODING_ERROR)),
        ("port1:vendor_id", {"vendorId": 999}, (999, GOOD)),
        ("port1:serial_number", {}, (None, BAD_DATA_UNAVAILABLE)),
        ("port1:status", [{"portNumber": 1, "statusInfo": "DEVICE_ONLINE"}], ("DEVICE_ONLINE", GOOD)),
        ("Pump:status", [{"deviceAlias": "Pump", "statusInfo": "DEACTIVATED"}], ("DEACTIVATED", GOOD)),
        ("port2:status", [{"portNumber": 1}], (None, BAD_NODE_ID_UNKNOWN)),
        ("port1:status", {}, (None, BAD_DECODING_ERROR)),
        ("port1:events", {}, (None, BAD_DECODING_ERROR)),
    ],
)
def test_an_answer_of_the_json_integration_is_read(
    address: str, document: object, reading: tuple[Value | None, Quality]
) -> None:
    assert read_json(parse_point(address), document) == reading


PDIN = "/iolinkmaster/port[1]/iolinkdevice/pdin"


@pytest.mark.parametrize(
    ("address", "document", "reading"),
    [
        ("port1:in:int16@16", {"code": 200, "data": {PDIN: {"code": 200, "data": "FF381235"}}}, (-200, GOOD)),
        ("port1:in", {"code": 200, "data": {PDIN[1:]: {"code": 200, "data": "00"}}}, (b"\0", GOOD)),
        ("port1:in", {"code": 200, "data": {PDIN: {"code": 503}}}, (None, BAD_NO_COMMUNICATION)),
        ("port1:in", {"code": 200, "data": {PDIN: {"code": 530}}}, (None, BAD_DATA_UNAVAILABLE)),
        ("port1:in", {"code": 200, "data": {PDIN: {"code": 404}}}, (None, BAD_NODE_ID_UNKNOWN)),
        ("port1:in", {"code": 200, "data": {PDIN: {"code": 999}}}, (None, Quality(0x80000000))),
        ("port1:in", {"code": 200, "data": {PDIN: {"code": "x"}}}, (None, BAD_DECODING_ERROR)),
        ("port1:in", {"code": 200, "data": {PDIN: {"code": 200, "data": "zz"}}}, (None, BAD_DECODING_ERROR)),
        ("port1:in", {"code": 200, "data": {}}, (None, BAD_NODE_ID_UNKNOWN)),
        ("port1:in", {"code": 400}, (None, BAD_DECODING_ERROR)),
        ("port1:in", None, (None, BAD_DECODING_ERROR)),
        ("data:/t", {"code": 200, "data": {"/t": {"code": 200, "data": 35}}}, (35, GOOD)),
    ],
)
def test_an_answer_of_an_iot_core_is_read(
    address: str, document: object, reading: tuple[Value | None, Quality]
) -> None:
    assert read_iotcore(parse_point(address), document) == reading


def test_a_pin_that_is_neither_on_nor_off_is_of_the_wrong_type() -> None:
    answer = {"code": 200, "data": {"/iolinkmaster/port[1]/pin2in": {"code": 200, "data": 7}}}
    assert read_iotcore(parse_point("port1:pin2"), answer) == (None, BAD_TYPE_MISMATCH)


def test_events_keep_their_time_and_code() -> None:
    event = {"time": "2018-05-18T07:31:54.123Z", "severity": "WARNING", "message": {"code": 16912, "mode": "APPEARS"}}
    assert read_json(parse_point("port1:events"), [event]) == (
        [{"time": "2018-05-18T07:31:54.123Z", "severity": "WARNING", "code": 16912, "mode": "APPEARS"}],
        GOOD,
    )


@pytest.mark.parametrize(
    ("text", "value", "reading"),
    [
        ("port1:in:int16@0", 32764, (None, BAD_DATA_UNAVAILABLE)),
        ("port1:in:int16@0", -32760, (None, BAD_OUT_OF_RANGE)),
        ("port1:in:int32@0", 2147483640, (None, BAD_OUT_OF_RANGE)),
        ("port1:in:int16@0", 32763, (32763, GOOD)),
        ("port1:in:uint16@0", 32764, (32764, GOOD)),
    ],
)
def test_a_smart_sensors_numbers_for_no_number_are_bad(
    text: str, value: int, reading: tuple[Value | None, Quality]
) -> None:
    assert with_substitutes(parse_point(text), (value, GOOD)) == reading


def test_what_an_ifm_master_publishes_is_found_by_the_mqtt_connector() -> None:
    address = parse_address("master1#$.data.payload['/iolinkmaster/port[1]/iolinkdevice/pdin'].data")
    event = (
        b'{"code":"event","data":{"payload":{"/iolinkmaster/port[1]/iolinkdevice/pdin":{"code":200,"data":"03C9"}}}}'
    )
    assert Payload(event).at(address.steps) == "03C9"


def test_an_error_is_a_quality() -> None:
    assert quality_of_error(404, {"code": 308}) == BAD_NO_COMMUNICATION
    assert quality_of_error(400, {"code": 307}) == BAD_DATA_UNAVAILABLE
    assert quality_of_error(404, None) == BAD_NODE_ID_UNKNOWN
    assert quality_of_error(500, []) == BAD_NO_COMMUNICATION
    assert quality_of_error(418, {"code": "x"}).is_bad
