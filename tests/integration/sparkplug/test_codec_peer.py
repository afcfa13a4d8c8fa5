"""Our payloads and those of npm sparkplug-payload, each read by the other.

It knows no arrays, reads UInt32 from the 64-bit field only, shows Int64 without its sign and reads
tables of few column types; the rest is compared.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from sparkplug_kit import ForeignCodec

from millstream.protocols.sparkplug import (
    DataSet,
    DataType,
    MetaData,
    Metric,
    Parameter,
    Payload,
    Property,
    Raw,
    Template,
)
from millstream.protocols.sparkplug_value import interpret, member_value, to_raw
from millstream.protocols.sparkplug_wire import decode_payload, encode_payload

pytestmark = pytest.mark.needs("sparkplug-payload")
T = DataType
NOW_MS = 1_700_000_000_123
SCALARS: list[tuple[DataType, str, Any, Any]] = [  # ours, theirs, value, as their decoder shows it
    (T.INT8, "Int8", -128, -128),
    (T.INT16, "Int16", -32768, -32768),
    (T.INT32, "Int32", -(2**31), -(2**31)),
    (T.INT64, "Int64", -5, {"long": str(2**64 - 5)}),
    (T.UINT8, "UInt8", 255, 255),
    (T.UINT16, "UInt16", 65535, 65535),
    (T.UINT64, "UInt64", 2**53 - 1, {"long": str(2**53 - 1)}),
    (T.FLOAT, "Float", 0.5, 0.5),
    (T.DOUBLE, "Double", 1.1, 1.1),
    (T.BOOLEAN, "Boolean", True, True),
    (T.BOOLEAN, "Boolean", False, False),
    (T.STRING, "String", "Größe 压力", "Größe 压力"),
    (T.STRING, "String", "", ""),
    (T.DATETIME, "DateTime", NOW_MS, {"long": str(NOW_MS)}),
    (T.TEXT, "Text", "t", "t"),
    (T.UUID, "UUID", "4f0c", "4f0c"),
    (T.BYTES, "Bytes", b"\0\xff", {"bytes": "AP8="}),
    (T.FILE, "File", b"f", {"bytes": "Zg=="}),
]


def test_it_reads_our_scalars(foreign_codec: ForeignCodec) -> None:
    metrics = tuple(
        Metric(
            f"m{i}", i, NOW_MS, datatype, to_raw(datatype, value), is_historical=bool(i % 2), is_transient=i % 3 == 0
        )
        for i, (datatype, _name, value, _shown) in enumerate(SCALARS)
    )
    found = foreign_codec.decode(encode_payload(Payload(NOW_MS, metrics, 7, "u", b"body")))
    assert found["timestamp"] == {"long": str(NOW_MS)}
    assert found["seq"] == {"long": "7"}
    assert found["uuid"] == "u"
    assert found["body"] == {"bytes": base64.b64encode(b"body").decode()}
    for i, (metric, (_datatype, name, _value, shown)) in enumerate(zip(found["metrics"], SCALARS, strict=True)):
        assert (metric["name"], metric["alias"], metric["type"]) == (f"m{i}", {"long": str(i)}, name)
        assert metric["value"] == shown
        assert metric["timestamp"] == {"long": str(NOW_MS)}
        assert metric.get("isHistorical", False) is bool(i % 2)
        assert metric.get("isTransient", False) is (i % 3 == 0)


def test_we_read_its_scalars(foreign_codec: ForeignCodec) -> None:
    cases = [*SCALARS, (T.UINT32, "UInt32", 2**32 - 1, None)]
    metrics = [
        {"name": f"m{i}", "alias": i, "timestamp": NOW_MS, "type": name, "value": _outward(value)}
        for i, (_datatype, name, value, _shown) in enumerate(cases)
    ]
    found = decode_payload(foreign_codec.encode({"timestamp": NOW_MS, "seq": 255, "metrics": metrics}))
    assert (found.timestamp_ms, found.seq) == (NOW_MS, 255)
    for i, (metric, (datatype, _name, value, _shown)) in enumerate(zip(found.metrics, cases, strict=True)):
        assert (metric.name, metric.alias, metric.timestamp_ms, metric.datatype) == (f"m{i}", i, NOW_MS, datatype)
        assert metric.fault is None
        assert metric.raw is not None
        assert interpret(metric.raw, datatype) == value


def _outward(value: Any) -> Any:
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


TABLE = DataSet(("n", "s", "b"), (T.DOUBLE, T.STRING, T.BOOLEAN), ((1.5, "x", True), (-2.0, "", False)))
MEMBER = Metric("speed", timestamp_ms=NOW_MS, datatype=T.INT32, raw=to_raw(T.INT32, -3))
INSTANCE = Template(False, "Motor", "v1", (MEMBER,), (Parameter("zone", T.STRING, "east"),))
PROPERTIES = {"engUnit": Property(T.STRING, "mm/s"), "Quality": Property(T.INT32, 192), "no": Property(T.STRING, None)}
META = MetaData(False, "text/plain", 5, 1, "f.txt", "txt", "d41d", "a file")


@pytest.mark.tck("tck-id-payloads-template-dataset-value", "tck-id-payloads-dataset-column-num-headers")
def test_it_reads_our_tables_templates_properties_and_nulls(foreign_codec: ForeignCodec) -> None:
    metrics = (
        Metric("table", datatype=T.DATASET, raw=Raw("dataset_value", TABLE)),
        Metric("m1", datatype=T.TEMPLATE, raw=Raw("template_value", INSTANCE)),
        Metric("p", datatype=T.INT8, raw=to_raw(T.INT8, 1), properties=PROPERTIES, metadata=META),
        Metric("null", datatype=T.INT8, is_null=True),
    )
    table, template, prop, null = foreign_codec.decode(encode_payload(Payload(metrics=metrics)))["metrics"]
    assert table["value"]["columns"] == ["n", "s", "b"]
    assert table["value"]["types"] == ["Double", "String", "Boolean"]
    assert table["value"]["rows"] == [[1.5, "x", True], [-2.0, "", False]]
    assert (template["value"]["templateRef"], template["value"]["version"]) == ("Motor", "v1")
    assert template["value"]["isDefinition"] is False
    assert template["value"]["metrics"][0]["value"] == -3
    assert template["value"]["parameters"] == [{"name": "zone", "type": "String", "value": "east"}]
    assert prop["properties"]["engUnit"] == {"type": "String", "value": "mm/s"}
    assert prop["properties"]["Quality"] == {"type": "Int32", "value": 192}
    assert prop["properties"]["no"]["value"] is None
    assert prop["metadata"]["fileName"] == "f.txt"
    assert prop["metadata"]["size"] == {"long": "5"}
    assert null["value"] is None


def test_we_read_its_tables_templates_properties_and_nulls(foreign_codec: ForeignCodec) -> None:
    table = {"numOfColumns": 3, "columns": ["n", "s", "b"], "types": ["Double", "String", "Boolean"]}
    member = {"name": "speed", "timestamp": NOW_MS, "type": "Int32", "value": -3}
    template = {"isDefinition": False, "templateRef": "Motor", "version": "v1", "metrics": [member]}
    template["parameters"] = [{"name": "zone", "type": "String", "value": "east"}]
    properties = {
        "engUnit": {"type": "String", "value": "mm/s"},
        "Quality": {"type": "Int32", "value": 192},
        "no": {"type": "String", "value": None},
    }
    meta = {"isMultiPart": False, "contentType": "text/plain", "size": 5, "seq": 1, "fileName": "f.txt"}
    meta |= {"fileType": "txt", "md5": "d41d", "description": "a file"}
    metrics = [
        {"name": "table", "type": "DataSet", "value": table | {"rows": [[1.5, "x", True], [-2.0, "", False]]}},
        {"name": "m1", "type": "Template", "value": template},
        {"name": "p", "type": "Int8", "value": 1, "properties": properties, "metadata": meta},
        {"name": "null", "type": "Int8", "value": None},
    ]
    found = decode_payload(foreign_codec.encode({"metrics": metrics})).metrics
    assert member_value(found[0]) == TABLE
    assert member_value(found[1]) == INSTANCE
    assert found[2].properties == PROPERTIES
    assert found[2].metadata == META
    assert found[3] == Metric("null", datatype=T.INT8, is_null=True)
