"""ReadPropertyMultiple of ours against the same of bacpypes3, another implementation."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from bacpypes3.apdu import ReadPropertyMultipleACK, ReadPropertyMultipleRequest
from bacpypes3.basetypes import (
    ErrorType,
    PropertyIdentifier,
    PropertyReference,
    ReadAccessResult,
    ReadAccessResultElement,
    ReadAccessResultElementChoice,
    ReadAccessSpecification,
)
from bacpypes3.constructeddata import Any as AnyValue
from bacpypes3.primitivedata import (
    BitString,
    CharacterString,
    Date,
    Double,
    Enumerated,
    Integer,
    Null,
    ObjectIdentifier,
    OctetString,
    Real,
    Unsigned,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.connectors.bacnet._device import content_of_octets
from millstream.kernel import DecodeError
from millstream.model import BAD_DECODING_ERROR, GOOD
from millstream.protocols.bacnet_multiple import decode_answer, encode_request, plain_value
from millstream.protocols.bacnet_plan import Property

properties = st.builds(
    Property,
    st.integers(0, 1023),
    st.integers(0, 4_194_302),
    st.sampled_from([0, 28, 85, 111, 255, 256, 512, 4_194_303]),
    st.none() | st.sampled_from([0, 1, 255, 256, 0xFFFFFFFF]),
)
VALUES: tuple[tuple[Any, Any, int], ...] = (
    (Real(12.5), 12.5, 4), (Real(-math.inf), -math.inf, 4), (Unsigned(0), 0, 2), (Unsigned(2**32 - 1), 2**32 - 1, 2),
    (Enumerated(300), 300, 9), (BitString([1, 0, 0, 1]), [True, False, False, True], 8),
    (BitString([1] * 9), [True] * 9, 8), (Integer(-3), -3, 3), (Double(1e300), 1e300, 5),
    (CharacterString("Lüfter 3"), "Lüfter 3", 7), (CharacterString("x" * 300), "x" * 300, 7),
    (OctetString(b"\x1f\x3f\x4f"), b"\x1f\x3f\x4f", 6), (Date((126, 11, 21, 6)), "2026-11-21", 10),
    (ObjectIdentifier((0, 31)), "analog-input:31", 12),
)  # fmt: skip


def octets(sequence: Any) -> bytes:
    """What follows the header of the message."""
    return bytes(sequence.encode().pduData)


def answered(results: list[tuple[Property, Any]]) -> bytes:
    """An answer with these contents; an int is the code of an error."""
    made = []
    for item, content in results:
        if type(content) is int:
            choice = ReadAccessResultElementChoice(
                propertyAccessError=ErrorType(errorClass="property", errorCode=content)
            )
        else:
            choice = ReadAccessResultElementChoice(propertyValue=AnyValue(content))
        element = ReadAccessResultElement(propertyIdentifier=PropertyIdentifier(item.property_id), readResult=choice)
        if item.array_index is not None:
            element.propertyArrayIndex = item.array_index
        identifier = ObjectIdentifier((item.object_type, item.instance))
        made.append(ReadAccessResult(objectIdentifier=identifier, listOfResults=[element]))
    return octets(ReadPropertyMultipleACK(listOfReadAccessResults=made))


@settings(max_examples=60)
@given(st.lists(properties, min_size=1, max_size=12, unique=True))
def test_a_request_is_what_another_stack_would_send(items: list[Property]) -> None:
    specifications: list[Any] = []
    before = None
    for item in items:
        here = (item.object_type, item.instance)
        if here != before:
            identifier = ObjectIdentifier(here)
            specifications.append(ReadAccessSpecification(objectIdentifier=identifier, listOfPropertyReferences=[]))
            before = here
        reference = PropertyReference(propertyIdentifier=PropertyIdentifier(item.property_id))
        if item.array_index is not None:
            reference.propertyArrayIndex = item.array_index
        specifications[-1].listOfPropertyReferences.append(reference)
    theirs = octets(ReadPropertyMultipleRequest(listOfReadAccessSpecs=specifications))
    assert encode_request(items) == theirs


@settings(max_examples=60)
@given(st.lists(st.tuples(properties, st.sampled_from(VALUES) | st.sampled_from([31, 32, 400])), max_size=8))
def test_an_answer_of_another_stack_is_read(results: list[tuple[Property, Any]]) -> None:
    raw = answered([(item, content if type(content) is int else content[0]) for item, content in results])
    elements = decode_answer(raw)
    assert [element.item for element in elements] == [item for item, _ in results]
    for (item, content), element in zip(results, elements, strict=True):
        if type(content) is int:
            assert element.error_code == content
            continue
        value, quality, kind = content_of_octets(item, element.content)
        if item.property_id == 76 or (item.is_binary and content[2] == 9):
            continue
        assert (value, quality, kind) == (content[1], GOOD, content[2])


def test_a_list_a_structure_and_a_null_are_as_before() -> None:
    item = Property(5, 1, 87)
    # A priority array: null, then an enumeration; a structure: a context tag with a real within.
    (element,) = decode_answer(bytes.fromhex("0c01400001 1e 2957 4e 00 9101 4f 1f".replace(" ", "")))
    assert content_of_octets(item, element.content) == ([1], GOOD, 0)
    (element,) = decode_answer(bytes.fromhex("0c01400001 1e 2955 4e 0e 4441480000 0f 4f 1f".replace(" ", "")))
    assert content_of_octets(item, element.content)[1] == BAD_DECODING_ERROR
    assert content_of_octets(item, bytes(Null(()).encode().encode().pduData))[0] is None
    assert content_of_octets(Property(5, 1), b"\x91\x01")[0] is True, "a binary value's state is a truth value"
    assert plain_value(item, b"") is None


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_what_is_no_answer_is_refused_in_words(raw: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode_answer(raw)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_answer_is_refused_or_read(data: st.DataObject) -> None:
    raw = bytearray(answered([(Property(0, n), VALUES[n % len(VALUES)][0]) for n in range(4)]))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.integers(1, len(raw))) :]
    with contextlib.suppress(DecodeError):
        for element in decode_answer(bytes(raw)):
            content_of_octets(element.item, element.content)


@pytest.mark.parametrize("depth", [15, 17, 5000])
def test_deep_nesting_has_an_end(depth: int) -> None:
    raw = bytes.fromhex("0c000000011e29554e") + b"\x0e" * depth + b"\x0f" * depth + b"\x4f\x1f"
    if depth < 16:
        assert len(decode_answer(raw)) == 1
    else:
        with pytest.raises(DecodeError, match="levels"):
            decode_answer(raw)
