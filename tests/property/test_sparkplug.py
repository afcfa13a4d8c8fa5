"""Sparkplug payloads: each value survives the wire, and no bytes raise anything but DecodeError.

Runs: 300 payloads there and back, 1,500 of any bytes, 1,500 of payloads with bytes changed, 500 compressed.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.kernel import DecodeError
from millstream.protocols.sparkplug import (
    BASIC_TYPES,
    METRIC_TYPES,
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
from millstream.protocols.sparkplug_compression import COMPRESSED, decode_whole
from millstream.protocols.sparkplug_topic import State, parse_topic
from millstream.protocols.sparkplug_value import datatype_of, interpret, member_value, plain, to_raw
from millstream.protocols.sparkplug_wire import decode_payload, encode_payload

T = DataType
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
UINT64 = st.integers(0, 2**64 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False)
DOUBLE = st.floats(allow_nan=False)


def integers(bits: int, is_signed: bool) -> st.SearchStrategy[int]:
    """All of one width."""
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else st.integers(0, (1 << bits) - 1)


SCALARS: dict[DataType, st.SearchStrategy[Any]] = {
    T.INT8: integers(8, True),
    T.INT16: integers(16, True),
    T.INT32: integers(32, True),
    T.INT64: integers(64, True),
    T.UINT8: integers(8, False),
    T.UINT16: integers(16, False),
    T.UINT32: integers(32, False),
    T.UINT64: UINT64,
    T.FLOAT: FLOAT32,
    T.DOUBLE: DOUBLE,
    T.BOOLEAN: st.booleans(),
    T.STRING: TEXT,
    T.DATETIME: UINT64,
    T.TEXT: TEXT,
}
VALUES = {
    **SCALARS,
    T.UUID: TEXT,
    T.BYTES: st.binary(max_size=20),
    T.FILE: st.binary(max_size=20),
    **{DataType[f"{t.name}_ARRAY"]: st.lists(SCALARS[t], max_size=9) for t in SCALARS if t not in (T.STRING, T.TEXT)},
    T.STRING_ARRAY: st.lists(PLAIN_TEXT, max_size=5),
}


@st.composite
def datasets(draw: st.DrawFn) -> DataSet:
    """Rectangular ones."""
    types = draw(st.lists(st.sampled_from(sorted(BASIC_TYPES)), max_size=4))
    rows = draw(st.lists(st.tuples(*(st.none() | SCALARS[t] for t in types)), max_size=4))
    return DataSet(tuple(draw(TEXT) for _ in types), tuple(types), tuple(rows))


@st.composite
def properties(draw: st.DrawFn, depth: int = 2) -> dict[str, Property]:
    """Nested ones too."""
    found: dict[str, Property] = {}
    for key in draw(st.lists(TEXT, max_size=3)):
        kinds = [*sorted(BASIC_TYPES), *([T.PROPERTY_SET, T.PROPERTY_SET_LIST] if depth else [])]
        datatype = draw(st.sampled_from(kinds))
        if datatype is T.PROPERTY_SET:
            value: Any = draw(properties(depth - 1))
        elif datatype is T.PROPERTY_SET_LIST:
            value = tuple(draw(st.lists(properties(depth - 1), max_size=2)))
        else:
            value = draw(st.none() | SCALARS[datatype])
        found[key] = Property(datatype, value)
    return found


@st.composite
def metrics(draw: st.DrawFn, depth: int = 2) -> Metric:
    """Of each datatype."""
    datatype = draw(st.sampled_from(sorted(METRIC_TYPES if depth else METRIC_TYPES - {T.TEMPLATE})))
    is_null = draw(st.booleans())
    if is_null:
        raw = None
    elif datatype is T.TEMPLATE:
        raw = Raw("template_value", draw(templates(depth - 1)))
    elif datatype is T.DATASET:
        raw = Raw("dataset_value", draw(datasets()))
    else:
        raw = to_raw(datatype, draw(VALUES[datatype]))
    return Metric(
        draw(st.none() | TEXT),
        draw(st.none() | UINT64),
        draw(st.none() | UINT64),
        datatype,
        raw,
        is_null,
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.none() | st.builds(MetaData, content_type=st.none() | TEXT, size=st.none() | UINT64)),
        draw(st.none() | properties()),
    )


@st.composite
def templates(draw: st.DrawFn, depth: int = 1) -> Template:
    """Definitions and instances."""
    parameters = [
        Parameter(draw(TEXT), t, draw(st.none() | SCALARS[t]))
        for t in draw(st.lists(st.sampled_from(sorted(BASIC_TYPES)), max_size=3))
    ]
    is_definition = draw(st.booleans())
    return Template(
        is_definition,
        None if is_definition else draw(st.none() | TEXT),
        draw(st.none() | TEXT),
        tuple(draw(st.lists(metrics(depth), max_size=3))),
        tuple(parameters),
    )


PAYLOADS = st.builds(
    Payload,
    st.none() | UINT64,
    st.lists(metrics(), max_size=4).map(tuple),
    st.none() | st.integers(0, 255),
    st.none() | TEXT,
    st.none() | st.binary(max_size=20),
)


@settings(max_examples=300)
@given(PAYLOADS)
def test_every_payload_survives_the_wire(payload: Payload) -> None:
    assert decode_payload(encode_payload(payload)) == payload


@settings(max_examples=300)
@given(st.data())
def test_every_value_survives_its_wire_form(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(sorted(VALUES)))
    value = data.draw(VALUES[datatype])
    found = interpret(to_raw(datatype, value), datatype)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_survives() -> None:
    found = interpret(to_raw(T.DOUBLE, float("nan")), T.DOUBLE)
    assert isinstance(found, float)
    assert struct.pack("<d", found) == struct.pack("<d", float("nan"))


def read_all(raw: bytes) -> None:
    """What a host does with a payload; only DecodeError may come out."""
    with contextlib.suppress(DecodeError):
        for metric in decode_payload(raw).metrics:
            with contextlib.suppress(DecodeError):
                value = member_value(metric)
                if value is not None:
                    plain(value)
            for code in (*range(36), 2**32 - 1):
                with contextlib.suppress(DecodeError):
                    datatype = datatype_of(code)
                    if metric.raw is not None:
                        interpret(metric.raw, datatype)


@settings(max_examples=600)
@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_decode_error(raw: bytes) -> None:
    read_all(raw)
    with contextlib.suppress(DecodeError):
        State.decode(raw)
    with contextlib.suppress(DecodeError):
        parse_topic("spBv1.0/" + raw.decode("utf-8", "surrogateescape"))


@settings(max_examples=600)
@given(PAYLOADS.map(encode_payload), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6))
def test_no_changed_payload_raises_anything_but_a_decode_error(raw: bytes, changes: list[tuple[int, int]]) -> None:
    spoilt = bytearray(raw)
    for place, value in changes:
        if spoilt:
            spoilt[place % len(spoilt)] = value
    read_all(bytes(spoilt))
    read_all(bytes(spoilt[: len(spoilt) // 2]))


@settings(max_examples=500)
@given(st.binary(max_size=300), st.booleans(), st.integers(0, 300))
def test_no_compressed_bytes_raise_anything_but_a_decode_error(raw: bytes, is_packed: bool, kept: int) -> None:
    body = zlib.compress(raw)[:kept] if is_packed else raw
    with contextlib.suppress(DecodeError):
        decode_whole(encode_payload(Payload(None, (), None, COMPRESSED, body)))
