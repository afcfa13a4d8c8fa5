"""Datatypes and their wire form (Sparkplug 3.0, 6.4.16, 6.4.17); array bytes are the specification's examples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from millstream.kernel import DecodeError
from millstream.protocols.sparkplug import (
    METRIC_TYPES,
    DataSet,
    DataType,
    Metric,
    Parameter,
    Payload,
    Property,
    Raw,
    Template,
)
from millstream.protocols.sparkplug_value import datatype_of, interpret, member_value, pack_array, plain, to_raw
from millstream.protocols.sparkplug_wire import decode_payload, encode_payload

T = DataType


@pytest.mark.parametrize(
    ("datatype", "values", "content"),
    [
        (T.INT8_ARRAY, [-23, 123], "e97b"),
        (T.INT16_ARRAY, [-30000, 30000], "d08a3075"),
        (T.INT32_ARRAY, [-1, 315338746], "fffffffffaafcb12"),
        (T.INT64_ARRAY, [-4270929666821191986, -3601064768563266876], "ce0672ac189cbac4c4ba9c18ac7206ce"),
        (T.UINT8_ARRAY, [23, 250], "17fa"),
        (T.UINT16_ARRAY, [30, 52360], "1e0088cc"),
        (T.UINT32_ARRAY, [52, 3293969225], "3400000049fb55c4"),
        (T.UINT64_ARRAY, [52, 16444743074749521625], "3400000000000000d99e02d1b27637e4"),
        (T.DOUBLE_ARRAY, [12.354213, 1022.9123213], "d7a205685bb528408e171c6f4cf78f40"),
        (T.BOOLEAN_ARRAY, [c == "1" for c in "001101001101"], "0c00000034d0"),
        (T.STRING_ARRAY, ["ABC", "hello"], "4142430068656c6c6f00"),
        (T.DATETIME_ARRAY, [1256102875335, 1656107875000], "c7d0907524010000b8bab89781010000"),
    ],
)
def test_an_array_is_packed_as_in_the_specification(datatype: DataType, values: Any, content: str) -> None:
    assert pack_array(values, datatype).hex() == content
    assert interpret(Raw("bytes_value", bytes.fromhex(content)), datatype) == values


def test_bits_behind_the_last_boolean_are_of_no_account() -> None:
    assert interpret(Raw("bytes_value", b"\x03\0\0\0\xbf"), T.BOOLEAN_ARRAY) == [True, False, True]


@pytest.mark.parametrize(
    ("datatype", "content"),
    [
        (T.INT16_ARRAY, b"\1"),
        (T.DOUBLE_ARRAY, b"\0" * 9),
        (T.BOOLEAN_ARRAY, b"\1\0\0"),
        (T.BOOLEAN_ARRAY, b"\xff\xff\xff\xff\1"),
        (T.BOOLEAN_ARRAY, b"\1\0\0\0"),
        (T.STRING_ARRAY, b"AB"),
        (T.STRING_ARRAY, b"\xff\0"),
    ],
)
def test_an_array_that_breaks_off_is_refused(datatype: DataType, content: bytes) -> None:
    with pytest.raises(DecodeError) as refused:
        interpret(Raw("bytes_value", content), datatype)
    assert refused.value.code == "MS-1502"


@pytest.mark.tck("tck-id-payloads-metric-datatype-value")
@pytest.mark.parametrize(
    ("datatype", "value", "raw"),
    [
        (T.INT8, -1, Raw("int_value", 0xFFFFFFFF)),
        (T.INT16, -2, Raw("int_value", 0xFFFFFFFE)),
        (T.INT32, -(2**31), Raw("int_value", 0x80000000)),
        (T.INT64, -1, Raw("long_value", 2**64 - 1)),
        (T.UINT32, 2**32 - 1, Raw("int_value", 2**32 - 1)),
        (T.UINT64, 2**64 - 1, Raw("long_value", 2**64 - 1)),
        (T.DATETIME, 1656107875000, Raw("long_value", 1656107875000)),
        (T.BOOLEAN, False, Raw("boolean_value", False)),
        (T.FLOAT, 1.5, Raw("float_value", 1.5)),
        (T.DOUBLE, 3, Raw("double_value", 3.0)),
        (T.STRING, "", Raw("string_value", "")),
        (T.UUID, "u", Raw("string_value", "u")),
        (T.FILE, b"\0", Raw("bytes_value", b"\0")),
    ],
)
def test_a_value_goes_into_the_field_of_its_datatype(datatype: DataType, value: Any, raw: Raw) -> None:
    assert to_raw(datatype, value) == raw
    assert interpret(raw, datatype) == value


@pytest.mark.parametrize(
    ("raw", "datatype", "value"),
    [
        (Raw("int_value", 0xFF), T.INT8, -1),  # two's complement of its own width
        (Raw("int_value", 0xFFFE), T.INT16, -2),
        (Raw("long_value", 2**64 - 5), T.INT32, -5),  # sign-extended to 64 bits
        (Raw("long_value", 2**32 - 1), T.UINT32, 2**32 - 1),  # as sparkplug-payload and Tahu do it
        (Raw("int_value", 7), T.UINT64, 7),
        (Raw("double_value", 0.1), T.FLOAT, 0.1),
    ],
)
def test_what_other_nodes_make_of_it_is_read_too(raw: Raw, datatype: DataType, value: Any) -> None:
    assert interpret(raw, datatype) == value


@pytest.mark.parametrize(
    ("raw", "datatype"),
    [
        (Raw("int_value", 0x1234), T.INT8),
        (Raw("int_value", 256), T.UINT8),
        (Raw("long_value", 2**33), T.UINT32),
        (Raw("long_value", 2**40), T.INT32),
        (Raw("int_value", 1), T.BOOLEAN),
        (Raw("string_value", "1"), T.INT32),
        (Raw("double_value", 1.0), T.INT64),
        (Raw("bytes_value", b""), T.STRING),
        (Raw("double_value", 1.0), T.UNKNOWN),
    ],
)
def test_a_value_of_another_datatype_is_refused(raw: Raw, datatype: DataType) -> None:
    with pytest.raises(DecodeError) as refused:
        interpret(raw, datatype)
    assert refused.value.code == "MS-1502"


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (T.INT8, 128),
        (T.UINT8, -1),
        (T.INT32, True),
        (T.INT32, 1.0),
        (T.FLOAT, 1e39),
        (T.DOUBLE, 10**400),
        (T.DOUBLE, "1"),
        (T.BOOLEAN, 1),
        (T.STRING, b""),
        (T.BYTES, ""),
        (T.INT8_ARRAY, [200]),
        (T.BOOLEAN_ARRAY, [1]),
        (T.STRING_ARRAY, ["a\0b"]),
        (T.INT8_ARRAY, 3),
        (T.DATASET, {}),
    ],
)
def test_a_value_that_does_not_fit_is_not_written(datatype: DataType, value: Any) -> None:
    with pytest.raises(DecodeError):
        to_raw(datatype, value)


@pytest.mark.tck("tck-id-payloads-metric-datatype-value-type")
@pytest.mark.parametrize("code", [None, 0, 20, 21, 35, 4_000_000_000])
def test_a_metric_has_a_datatype_of_the_list(code: int | None) -> None:
    with pytest.raises(DecodeError):
        datatype_of(code)
    assert {datatype_of(int(each)) for each in METRIC_TYPES} == METRIC_TYPES


# -- data sets, templates, properties ---------------------------------------------------------------------------------


def once(metric: Metric) -> Metric:
    """Through the wire and back."""
    return decode_payload(encode_payload(Payload(metrics=(metric,)))).metrics[0]


def spoilt(metric: Metric, *changes: tuple[bytes, bytes]) -> Metric:
    """The same, with bytes of it exchanged for others of the same length."""
    raw = encode_payload(Payload(metrics=(metric,)))
    for old, new in changes:
        assert raw.count(old) == 1
        assert len(old) == len(new)
        raw = raw.replace(old, new)
    return decode_payload(raw).metrics[0]


TABLE = DataSet(("a", "b"), (T.INT8, T.STRING), ((-1, "x"), (None, "y")))
TABLE_METRIC = Metric("table", datatype=T.DATASET, raw=Raw("dataset_value", TABLE))


@pytest.mark.tck(
    "tck-id-payloads-dataset-column-size",
    "tck-id-payloads-dataset-column-num-headers",
    "tck-id-payloads-dataset-types-def",
    "tck-id-payloads-dataset-types-num",
    "tck-id-payloads-dataset-parameter-type-req",
)
def test_a_data_set_has_a_name_and_a_type_a_column() -> None:
    assert once(TABLE_METRIC) == TABLE_METRIC
    assert plain(TABLE) == {"columns": ["a", "b"], "types": ["int8", "string"], "rows": [[-1, "x"], [None, "y"]]}
    broken = spoilt(TABLE_METRIC, (b"\x08\x02\x12\x01a", b"\x08\x03\x12\x01a"))  # three columns, it says
    assert broken.raw is None
    assert broken.fault is not None
    assert "one name and one type a column" in broken.fault
    with pytest.raises(DecodeError):
        once(Metric("t", raw=Raw("dataset_value", DataSet(("a",), (T.INT8, T.INT8), ()))))
    with pytest.raises(DecodeError):
        once(Metric("t", raw=Raw("dataset_value", DataSet(("a",), (), ()))))
    untyped = spoilt(TABLE_METRIC, (b"\x18\x01\x18\x0c", b"\x78\x01\x78\x0c"))  # the types as another field
    assert untyped.fault is not None
    assert "one name and one type a column" in untyped.fault
    with pytest.raises(DecodeError):
        once(Metric("t", raw=Raw("dataset_value", DataSet(("a",), (T.INT8,), ((1, 2),)))))


@pytest.mark.tck("tck-id-payloads-dataset-types-type", "tck-id-payloads-dataset-types-value")
@pytest.mark.parametrize("datatype", [T.UNKNOWN, T.UUID, T.DATASET, T.PROPERTY_SET, T.INT8_ARRAY])
def test_a_data_set_has_basic_types_only(datatype: DataType) -> None:
    with pytest.raises(DecodeError):
        once(Metric("t", raw=Raw("dataset_value", DataSet(("a",), (datatype,), ()))))
    broken = spoilt(TABLE_METRIC, (b"\x18\x0c", bytes([0x18, datatype])))
    assert broken.fault is not None
    assert "data set column has no datatype" in broken.fault


def test_a_cell_of_another_type_spoils_its_table_only() -> None:
    good = Metric("good", datatype=T.INT8, raw=to_raw(T.INT8, 1))
    raw = encode_payload(Payload(metrics=(TABLE_METRIC, good)))
    found = decode_payload(raw.replace(b"\x18\x0c", b"\x18\x0b")).metrics  # a column of strings called Boolean
    assert found[0].raw is None
    assert found[0].fault is not None
    assert found[1] == good


@pytest.mark.tck(
    "tck-id-payloads-propertyset-keys-array-size",
    "tck-id-payloads-propertyset-values-array-size",
    "tck-id-payloads-metric-propertyvalue-type-type",
    "tck-id-payloads-metric-propertyvalue-type-value",
    "tck-id-payloads-metric-propertyvalue-type-req",
)
def test_a_property_set_has_a_typed_value_a_key() -> None:
    inner = {"deep": Property(T.BOOLEAN, True)}
    properties = {
        "Quality": Property(T.INT32, 192),
        "none": Property(T.STRING, None),
        "set": Property(T.PROPERTY_SET, inner),
        "sets": Property(T.PROPERTY_SET_LIST, (inner, {})),
    }
    metric = Metric("m", datatype=T.INT8, raw=to_raw(T.INT8, 1), properties=properties)
    assert once(metric) == metric
    broken = spoilt(metric, (b"\x0a\x07Quality", b"\x1a\x07Quality"))  # one key less
    assert broken.raw == metric.raw
    assert broken.properties is None
    assert broken.fault is not None
    assert "one value a key" in broken.fault
    for bad in (T.UUID, T.DATASET, T.UNKNOWN, T.INT8_ARRAY):
        with pytest.raises(DecodeError):
            once(Metric("m", properties={"p": Property(bad, None)}))
    untyped = spoilt(Metric("m", properties={"p": Property(T.INT8, 1)}), (b"\x08\x01\x18\x01", b"\x08\x00\x18\x01"))
    assert untyped.fault is not None
    assert "property has no datatype" in untyped.fault


MEMBER = Metric("speed", datatype=T.DOUBLE, raw=to_raw(T.DOUBLE, 1.0))
DEFINITION = Template(True, None, "v1", (MEMBER,), (Parameter("zone", T.INT32, 4), Parameter("note", T.TEXT)))


@pytest.mark.tck(
    "tck-id-payloads-template-parameter-name-required",
    "tck-id-payloads-template-parameter-name-type",
    "tck-id-payloads-template-parameter-value-type",
    "tck-id-payloads-template-parameter-type-value",
    "tck-id-payloads-template-parameter-type-req",
    "tck-id-payloads-template-parameter-value",
    "tck-id-payloads-template-definition-is-definition",
    "tck-id-payloads-template-definition-members",
    "tck-id-payloads-template-definition-parameters",
    "tck-id-payloads-template-definition-parameters-default",
    "tck-id-payloads-template-version",
)
def test_a_template_definition_survives_the_wire() -> None:
    metric = Metric("Motor", datatype=T.TEMPLATE, raw=Raw("template_value", DEFINITION))
    assert once(metric) == metric
    nameless = spoilt(metric, (b"\x0a\x04zone\x10", b"\x7a\x04zone\x10"))
    assert nameless.fault == "template parameter has no name"
    untyped = spoilt(metric, (b"zone\x10\x03", b"zone\x10\x10"))
    assert untyped.fault is not None
    assert "template parameter has no datatype" in untyped.fault
    wide = spoilt(metric, (b"zone\x10\x03\x18\x04", b"zone\x10\x83\x80\x04"))  # 65,539, over three bytes
    assert wide.fault is not None
    assert "template parameter has no datatype" in wide.fault


@pytest.mark.tck("tck-id-payloads-template-definition-ref", "tck-id-payloads-template-ref-definition")
def test_a_template_definition_refers_to_no_other() -> None:
    raw = encode_payload(Payload(metrics=(Metric("d", raw=Raw("template_value", DEFINITION)),)))
    assert b"Motor" not in raw
    with pytest.raises(DecodeError, match="refers to another"):
        once(Metric("d", raw=Raw("template_value", replace(DEFINITION, template_ref="Motor"))))
    instance = Metric("i", raw=Raw("template_value", Template(False, "Motor")))
    both = spoilt(instance, (b"\x28\x00", b"\x28\x01"))  # is_definition: what it refers to is not believed
    assert both.raw == Raw("template_value", Template(True, None))


@pytest.mark.tck(
    "tck-id-payloads-template-instance-is-definition",
    "tck-id-payloads-template-instance-ref",
    "tck-id-payloads-template-instance-members",
    "tck-id-payloads-template-instance-members-data",
    "tck-id-payloads-template-instance-parameters",
)
def test_an_instance_may_leave_the_datatypes_to_its_definition() -> None:
    member = Metric("speed", raw=to_raw(T.DOUBLE, 2.5))
    instance = Template(False, "Motor", "v1", (member,), (Parameter("zone", T.INT32, 5),))
    assert once(Metric("m1", datatype=T.TEMPLATE, raw=Raw("template_value", instance))).raw == Raw(
        "template_value", instance
    )
    assert plain(instance, DEFINITION) == {
        "metrics": {"speed": 2.5},
        "template_ref": "Motor",
        "version": "v1",
        "parameters": {"zone": 5},
    }
    with pytest.raises(DecodeError):
        plain(instance)


def test_a_null_is_neither_zero_nor_empty() -> None:
    null = Metric("m", datatype=T.INT32, is_null=True)
    assert once(null) == null
    assert once(Metric("m", datatype=T.INT32, raw=to_raw(T.INT32, 0))).raw == Raw("int_value", 0)
    assert once(Metric("m", datatype=T.STRING, raw=to_raw(T.STRING, ""))).raw == Raw("string_value", "")
    assert member_value(null) is None


def test_a_null_with_a_value_is_null() -> None:
    raw = encode_payload(Payload(metrics=(Metric("m", datatype=T.INT32, raw=to_raw(T.INT32, 5)),)))
    forged = b"\x12" + bytes([raw[1] + 2]) + raw[2:] + b"\x38\x01"  # is_null behind the value
    assert decode_payload(forged).metrics[0] == Metric("m", datatype=T.INT32, is_null=True)


def test_text_that_is_not_utf8_spoils_its_metric_only() -> None:
    good = Metric("good", datatype=T.STRING, raw=to_raw(T.STRING, "ok"))
    bad = Metric("odd", datatype=T.STRING, raw=to_raw(T.STRING, "zz"))
    raw = encode_payload(Payload(metrics=(bad, good))).replace(b"zz", b"\xff\xfe")
    found = decode_payload(raw).metrics
    assert found[0] == Metric("odd", datatype=T.STRING, fault="text is not UTF-8")
    assert found[1] == good
