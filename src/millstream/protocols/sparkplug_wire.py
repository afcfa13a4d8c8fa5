"""Sparkplug B payloads as protobuf (6.4.1). The messages are built from our own table of the specification's fields.

Decoding takes any bytes and raises DecodeError only. What is wrong with one metric stays with that metric (`fault`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

from millstream.kernel import DecodeError, needs_extra
from millstream.protocols.sparkplug import (
    BASIC_TYPES,
    METRICS_COUNT_MAX,
    PAYLOAD_BYTES_MAX,
    PROPERTY_TYPES,
    Cell,
    DataSet,
    DataType,
    MetaData,
    Metric,
    Parameter,
    Payload,
    Property,
    PropertySet,
    Raw,
    RawValue,
    SparkplugValue,
    Template,
)
from millstream.protocols.sparkplug_value import interpret, to_raw

# Message: number, type, name. A type in capitals is one of these messages, * repeats, = belongs to the oneof.
_FIELDS = {
    "Payload": "1 uint64 timestamp, 2 *Metric metrics, 3 uint64 seq, 4 string uuid, 5 bytes body",
    "Metric": "1 string name, 2 uint64 alias, 3 uint64 timestamp, 4 uint32 datatype, 5 bool is_historical, "
    "6 bool is_transient, 7 bool is_null, 8 MetaData metadata, 9 PropertySet properties, 10 =uint32 int_value, "
    "11 =uint64 long_value, 12 =float float_value, 13 =double double_value, 14 =bool boolean_value, "
    "15 =string string_value, 16 =bytes bytes_value, 17 =DataSet dataset_value, 18 =Template template_value",
    "MetaData": "1 bool is_multi_part, 2 string content_type, 3 uint64 size, 4 uint64 seq, 5 string file_name, "
    "6 string file_type, 7 string md5, 8 string description",
    "PropertySet": "1 *string keys, 2 *PropertyValue values",
    "PropertySetList": "1 *PropertySet propertyset",
    "PropertyValue": "1 uint32 type, 2 bool is_null, 3 =uint32 int_value, 4 =uint64 long_value, "
    "5 =float float_value, 6 =double double_value, 7 =bool boolean_value, 8 =string string_value, "
    "9 =PropertySet propertyset_value, 10 =PropertySetList propertysets_value",
    "DataSet": "1 uint64 num_of_columns, 2 *string columns, 3 *uint32 types, 4 *Row rows",
    "Row": "1 *DataSetValue elements",
    "DataSetValue": "1 =uint32 int_value, 2 =uint64 long_value, 3 =float float_value, 4 =double double_value, "
    "5 =bool boolean_value, 6 =string string_value",
    "Template": "1 string version, 2 *Metric metrics, 3 *Parameter parameters, 4 string template_ref, "
    "5 bool is_definition",
    "Parameter": "1 string name, 2 uint32 type, 3 =uint32 int_value, 4 =uint64 long_value, 5 =float float_value, "
    "6 =double double_value, 7 =bool boolean_value, 8 =string string_value",
}
_METADATA = tuple(entry.split()[2] for entry in _FIELDS["MetaData"].split(", "))


@cache
def _payload_class() -> Callable[[], Any]:
    """The protobuf class of a payload."""
    with needs_extra("Sparkplug", "sparkplug"):
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="sparkplug", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, entries in _FIELDS.items():
        described = file.message_type.add(name=message)
        for entry in entries.split(", "):
            number, kind, name = entry.split()
            field = described.field.add(name=name, number=int(number))
            field.label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            if kind.startswith("="):
                field.oneof_index = 0
                if not described.oneof_decl:
                    described.oneof_decl.add(name="value")
            kind = kind.lstrip("*=")
            if kind in _FIELDS:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".sparkplug.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()  # its own: another Sparkplug library may be loaded too
    pool.Add(file)
    return cast("Callable[[], Any]", message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload")))


# -- decoding ---------------------------------------------------------------------------------------------------------


def _text(found: str | bytes) -> str:
    """Text that is not UTF-8 comes as bytes (proto2 does not ask for it; Sparkplug does)."""
    if isinstance(found, bytes):
        raise _malformed("text is not UTF-8", "UTF-8", ascii(found[:40]))
    return found


def _get(message: Any, name: str) -> Any:
    """A field; None when it is not there. Raises DecodeError for text that is not UTF-8."""
    if not message.HasField(name):
        return None
    found = getattr(message, name)
    return _text(found) if isinstance(found, bytes) else found


def decode_payload(raw: bytes) -> Payload:
    """A payload. Raises DecodeError when the bytes are none, or too many."""
    message = _payload_class()()  # before the import below: it tells when the library is missing
    from google.protobuf.message import DecodeError as ForeignError

    if len(raw) > PAYLOAD_BYTES_MAX:
        raise _malformed("payload is too large", f"at most {PAYLOAD_BYTES_MAX} bytes", f"{len(raw)} bytes")
    try:
        message.ParseFromString(raw)
    except ForeignError as error:
        raise _malformed("payload is no Sparkplug protobuf", "a message Payload", str(error)[:120]) from error
    if len(message.metrics) > METRICS_COUNT_MAX:
        raise _malformed("payload has too many metrics", f"at most {METRICS_COUNT_MAX}", str(len(message.metrics)))
    return Payload(
        _get(message, "timestamp"),
        tuple([_read_metric(each) for each in message.metrics]),
        _get(message, "seq"),
        _get(message, "uuid"),
        message.body if message.HasField("body") else None,
    )


def _malformed(what: str, expected: str, got: str) -> DecodeError:
    return DecodeError(what, expected=expected, got=got, code="MS-1501")


def _read_metric(message: Any) -> Metric:
    has = message.HasField
    name, raw, fault, metadata, properties = None, None, None, None, None
    is_null = message.is_null
    try:
        name = _get(message, "name")
        field = None if is_null else message.WhichOneof("value")
        raw = _read_raw(message, field) if field is not None else None
        metadata = _read_metadata(message.metadata) if has("metadata") else None
        properties = _read_properties(message.properties) if has("properties") else None
    except DecodeError as error:
        fault = error.what
    return Metric(
        name,
        message.alias if has("alias") else None,
        message.timestamp if has("timestamp") else None,
        message.datatype if has("datatype") else None,
        raw,
        is_null,
        message.is_historical,
        message.is_transient,
        metadata,
        properties,
        fault,
    )


def _read_raw(message: Any, field: str) -> Raw:
    found = getattr(message, field)
    if field == "string_value":
        return Raw(field, _text(found))
    read = _READERS.get(field)
    return Raw(field, read(found) if read is not None else found)


def _read_metadata(message: Any) -> MetaData:
    return MetaData(*(_get(message, name) for name in _METADATA))


def _read_cell(message: Any, datatype: DataType) -> Cell | None:
    field = message.WhichOneof("value")
    return None if field is None else cast("Cell", interpret(_read_raw(message, field), datatype))


def _typed(code: int, allowed: Iterable[DataType], what: str) -> DataType:
    datatype = next((each for each in allowed if each == code), None)
    if datatype is None:
        raise _malformed(f"{what} has no datatype that it can have", "a basic datatype", str(code))
    return datatype


def _read_properties(message: Any) -> PropertySet:
    if len(message.keys) != len(message.values):
        raise _malformed(
            "property set has not one value a key", f"{len(message.keys)} values", str(len(message.values))
        )
    return dict(zip(map(_text, message.keys), map(_read_property, message.values), strict=True))


def _read_property(message: Any) -> Property:
    datatype = _typed(message.type, PROPERTY_TYPES, "property")
    field = None if message.is_null else message.WhichOneof("value")
    if field is None:
        return Property(datatype, None)
    return Property(datatype, cast("Cell", interpret(_read_raw(message, field), datatype)))


def _read_dataset(message: Any) -> DataSet:
    columns = tuple(map(_text, message.columns))
    if not len(columns) == len(message.types) == message.num_of_columns:
        raise _malformed(
            "data set has not one name and one type a column",
            f"{message.num_of_columns} of each",
            f"{len(columns)} names, {len(message.types)} types",
        )
    types = tuple(_typed(code, BASIC_TYPES, "data set column") for code in message.types)
    rows = []
    for row in message.rows:
        if len(row.elements) != len(columns):
            raise _malformed(
                "row of a data set has not one element a column", str(len(columns)), str(len(row.elements))
            )
        rows.append(tuple(_read_cell(cell, types[i]) for i, cell in enumerate(row.elements)))
    return DataSet(columns, types, tuple(rows))


def _read_template(message: Any) -> Template:
    return Template(
        message.is_definition,
        None if message.is_definition else _get(message, "template_ref"),  # 6.4.14: a definition refers to none
        _get(message, "version"),
        tuple(_read_metric(each) for each in message.metrics),
        tuple(_read_parameter(each) for each in message.parameters),
    )


def _read_parameter(message: Any) -> Parameter:
    if not message.HasField("name"):
        raise _malformed("template parameter has no name", "a name", "none")
    datatype = _typed(message.type, BASIC_TYPES, "template parameter")
    return Parameter(_text(message.name), datatype, _read_cell(message, datatype))


_READERS: dict[str, Callable[[Any], RawValue]] = {
    "dataset_value": _read_dataset,
    "template_value": _read_template,
    "propertyset_value": _read_properties,
    "propertysets_value": lambda message: tuple(_read_properties(each) for each in message.propertyset),
}


# -- encoding ---------------------------------------------------------------------------------------------------------


def encode_payload(payload: Payload) -> bytes:
    """The bytes of a payload. Raises DecodeError when a value does not fit its datatype or a count its bound."""
    message = _payload_class()()
    try:
        if payload.timestamp_ms is not None:
            message.timestamp = payload.timestamp_ms
        if payload.seq is not None:
            message.seq = payload.seq
        if payload.uuid is not None:
            message.uuid = payload.uuid
        if payload.body is not None:
            message.body = payload.body
        for metric in payload.metrics:
            _write_metric(message.metrics.add(), metric)
        return cast("bytes", message.SerializeToString())
    except (ValueError, TypeError, UnicodeError) as error:
        raise _malformed("payload cannot be written", "values that fit their fields", str(error)[:120]) from error


def _write_metric(message: Any, metric: Metric) -> None:
    if metric.name is not None:
        message.name = metric.name
    if metric.alias is not None:
        message.alias = metric.alias
    if metric.timestamp_ms is not None:
        message.timestamp = metric.timestamp_ms
    if metric.datatype is not None:
        message.datatype = metric.datatype
    if metric.is_historical:
        message.is_historical = True
    if metric.is_transient:
        message.is_transient = True
    if metric.metadata is not None:
        message.metadata.SetInParent()
        for name in _METADATA:
            if (found := getattr(metric.metadata, name)) is not None:
                setattr(message.metadata, name, found)
    if metric.properties is not None:
        message.properties.SetInParent()
        _write_properties(message.properties, metric.properties)
    if metric.is_null:
        message.is_null = True
    elif metric.raw is not None:
        _write_raw(message, metric.raw)


def _write_raw(message: Any, raw: Raw) -> None:
    write = _WRITERS.get(raw.field)
    if write is None:
        setattr(message, raw.field, raw.value)
        return
    target = getattr(message, raw.field)
    target.SetInParent()
    write(target, raw.value)


def _write_properties(message: Any, properties: PropertySet) -> None:
    for key, each in properties.items():
        message.keys.append(key)
        value = message.values.add()
        value.type = _typed(each.datatype, PROPERTY_TYPES, "property")
        if each.value is None:
            value.is_null = True
        else:
            _write_raw(value, to_raw(each.datatype, cast("SparkplugValue", each.value)))


def _write_property_list(message: Any, sets: tuple[PropertySet, ...]) -> None:
    for each in sets:
        _write_properties(message.propertyset.add(), each)


def _write_dataset(message: Any, dataset: DataSet) -> None:
    width = len(dataset.columns)
    if len(dataset.types) != width or any(len(row) != width for row in dataset.rows):
        raise _malformed("data set is not rectangular", f"{width} types, and cells a row", str(len(dataset.types)))
    message.num_of_columns = width
    message.columns.extend(dataset.columns)
    message.types.extend(_typed(each, BASIC_TYPES, "data set column") for each in dataset.types)
    for row in dataset.rows:
        elements = message.rows.add().elements
        for datatype, cell in zip(dataset.types, row, strict=True):
            element = elements.add()
            if cell is not None:
                _write_raw(element, to_raw(datatype, cell))


def _write_template(message: Any, template: Template) -> None:
    message.is_definition = template.is_definition
    if template.is_definition and template.template_ref is not None:
        raise _malformed("template definition refers to another", "no template_ref", template.template_ref)
    if template.template_ref is not None:
        message.template_ref = template.template_ref
    if template.version is not None:
        message.version = template.version
    for metric in template.metrics:
        _write_metric(message.metrics.add(), metric)
    for each in template.parameters:
        parameter = message.parameters.add(
            name=each.name, type=_typed(each.datatype, BASIC_TYPES, "template parameter")
        )
        if each.value is not None:
            _write_raw(parameter, to_raw(each.datatype, each.value))


_WRITERS: dict[str, Callable[[Any, Any], None]] = {
    "dataset_value": _write_dataset,
    "template_value": _write_template,
    "propertyset_value": _write_properties,
    "propertysets_value": _write_property_list,
}
