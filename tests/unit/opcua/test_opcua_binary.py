"""The reader against asyncua's encoder (another implementation), and against noise."""

from __future__ import annotations

import math
import struct
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary, variant_to_binary
from hypothesis import given
from hypothesis import strategies as st

from millstream.connectors.opcua._binary import EPOCH_TICKS, BinaryReader, ticks_to_ns, ticks_to_text
from millstream.connectors.opcua._mapping import StructureReader, is_overflow, to_quality, to_sample
from millstream.connectors.opcua._responses import Notifications, ResponseReader, ServiceFault
from millstream.kernel import DecodeError, ProtocolViolation
from millstream.model import BAD_DATA_UNAVAILABLE, GOOD, UNCERTAIN_INITIAL_VALUE

NAMESPACES = ["http://opcfoundation.org/UA/", "urn:server", "urn:plant"]
GUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
T = ua.VariantType


def decode(variant: ua.Variant) -> Any:
    """Through our reader."""
    data = variant_to_binary(variant)
    reader = BinaryReader(data, NAMESPACES, StructureReader(NAMESPACES).read)
    value = reader.variant()
    assert reader.at == len(data)
    return value


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (True, T.Boolean, True),
        (-128, T.SByte, -128),
        (255, T.Byte, 255),
        (-(2**15), T.Int16, -(2**15)),
        (2**16 - 1, T.UInt16, 2**16 - 1),
        (-(2**31), T.Int32, -(2**31)),
        (2**32 - 1, T.UInt32, 2**32 - 1),
        (-(2**63), T.Int64, -(2**63)),
        (2**64 - 1, T.UInt64, 2**64 - 1),
        (0.5, T.Float, 0.5),
        (-math.inf, T.Double, -math.inf),
        ("Grüße ✓", T.String, "Grüße ✓"),
        (None, T.String, ""),
        (datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=UTC), T.DateTime, "2024-02-29T01:02:03.456789Z"),
        (GUID, T.Guid, str(GUID)),
        (b"\x00\xff", T.ByteString, b"\x00\xff"),
        (None, T.ByteString, b""),
        (ua.XmlElement("<a/>"), T.XmlElement, "<a/>"),
        (ua.NodeId("x;y", 2), T.NodeId, "nsu=urn:plant;s=x;y"),
        (ua.NodeId(85, 0), T.NodeId, "i=85"),
        (ua.NodeId(70000, 9), T.NodeId, "ns=9;i=70000"),
        (ua.NodeId(GUID, 2), T.NodeId, f"nsu=urn:plant;g={GUID}"),
        (ua.NodeId(b"\x01", 2), T.NodeId, "nsu=urn:plant;b=AQ=="),
        (ua.ExpandedNodeId("x", 0, NamespaceUri="urn:else"), T.ExpandedNodeId, "nsu=urn:else;s=x"),
        (ua.StatusCode(0x80340000), T.StatusCode, 0x80340000),
        (ua.QualifiedName("n", 0), T.QualifiedName, "n"),
        (ua.QualifiedName("n", 2), T.QualifiedName, "nsu=urn:plant;n"),
        (ua.LocalizedText("warm", "de"), T.LocalizedText, "warm"),
        (ua.Range(1.0, 2.0), T.ExtensionObject, {"Low": 1.0, "High": 2.0}),
        (None, T.ExtensionObject, {}),
        (ua.Variant(3, T.Int16), T.Variant, 3),
    ],
)
def test_each_built_in_type_becomes_its_value(value: Any, kind: ua.VariantType, expected: object) -> None:
    assert decode(ua.Variant(value, kind)) == expected
    if value is not None:
        assert decode(ua.Variant([value, value], kind)) == [expected, expected]


def test_arrays_of_all_ranks() -> None:
    cube = [[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]]
    assert decode(ua.Variant(cube, T.Int32, Dimensions=[3, 2, 2])) == cube
    assert decode(ua.Variant([], T.Double, is_array=True)) == []
    assert math.isnan(decode(ua.Variant([math.nan], T.Double))[0])


def test_dimensions_that_do_not_fit_leave_the_array_flat() -> None:
    data = bytes([6 | 0xC0]) + struct.pack("<i3i", 3, 1, 2, 3) + struct.pack("<i2i", 2, 2, 2)
    assert BinaryReader(data).variant() == [1, 2, 3]


def test_times_keep_100_ns_and_odd_ones_are_no_time() -> None:
    assert ticks_to_ns(EPOCH_TICKS + 1) == 100
    assert ticks_to_ns(EPOCH_TICKS + 1, 5000) == 150
    assert ticks_to_ns(0) is None
    assert ticks_to_ns(2**62) is None
    assert ticks_to_text(EPOCH_TICKS + 1) == "1970-01-01T00:00:00.0000001Z"
    assert ticks_to_text(EPOCH_TICKS) == "1970-01-01T00:00:00Z"
    assert ticks_to_text(0) == "0001-01-01T00:00:00Z"
    assert ticks_to_text(2**63 - 1) == "9999-12-31T23:59:59Z"


def publish(*values: ua.DataValue, sequence: int = 5) -> bytes:
    """A Publish response as asyncua's server sends it."""
    response = ua.PublishResponse()
    response.Parameters.SubscriptionId = 3
    response.Parameters.AvailableSequenceNumbers = [4, 5]
    message = response.Parameters.NotificationMessage
    message.SequenceNumber = sequence
    message.PublishTime = datetime(2024, 1, 1, tzinfo=UTC)
    change = ua.DataChangeNotification()
    change.MonitoredItems = [ua.MonitoredItemNotification(handle, value) for handle, value in enumerate(values)]
    message.NotificationData = [change] if values else []
    return bytes(struct_to_binary(response))


def test_a_publish_response_is_read_as_it_was_written() -> None:
    moment = datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    found = ResponseReader().publish(
        publish(
            ua.DataValue(ua.Variant(1.5, T.Double), SourceTimestamp=moment, ServerTimestamp=moment),
            ua.DataValue(StatusCode=ua.StatusCode(0x803A0000)),
            ua.DataValue(ua.Variant("x", T.String), StatusCode=ua.StatusCode(0x40920000)),
        )
    )
    assert isinstance(found, Notifications)
    assert (found.subscription_id, found.sequence, found.is_keep_alive) == (3, 5, False)
    time_ns = 1_704_067_200_123_456_000
    assert found.values == [(0, (1.5, 0, time_ns)), (1, (None, 0x803A0000, None)), (2, ("x", 0x40920000, None))]
    keep_alive = ResponseReader().publish(publish())
    assert isinstance(keep_alive, Notifications)
    assert keep_alive.is_keep_alive


def test_a_poisoned_value_is_one_bad_sample_and_its_neighbours_stand() -> None:
    good = ua.DataValue(ua.Variant(1, T.Int32))
    data = publish(good, ua.DataValue(ua.Variant("poison", T.String)), ua.DataValue(ua.Variant(ua.Range(1, 2))), good)
    data = data.replace(b"poison", b"\xff\xfe\xfd\xfc\xfb\xfa")
    found = ResponseReader(NAMESPACES, _fail).publish(data)
    assert isinstance(found, Notifications)
    assert [value.value for _, value in found.values] == [1, None, None, 1]
    assert [value.status for _, value in found.values] == [0, 0x80070000, 0x80070000, 0]
    assert [reason for _, reason in found.flawed] == ["text is not UTF-8", "structure cannot be read: ValueError"]
    assert b"\xff\xfe\xfd\xfc\xfb\xfa" in found.flawed[0][0]


def _fail(_index: int, _identifier: object, _body: bytes) -> Any:
    raise ValueError


def test_a_service_fault_is_told_from_data() -> None:
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadNoSubscription)
    assert ResponseReader().publish(struct_to_binary(fault)) == ServiceFault(ua.StatusCodes.BadNoSubscription)


@given(st.binary(max_size=200))
def test_noise_is_a_violation_or_data_and_never_anything_else(noise: bytes) -> None:
    for read in (ResponseReader().publish, ResponseReader().values, ResponseReader().history):
        with suppress(ProtocolViolation):
            read(noise)


@given(st.data())
def test_a_cut_or_flipped_response_never_crashes(data: st.DataObject) -> None:
    whole = bytearray(publish(ua.DataValue(ua.Variant(["a", "b"], T.String)), ua.DataValue(ua.Variant(ua.Range(1, 2)))))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.integers(0, len(whole)))
    with suppress(ProtocolViolation):
        ResponseReader(NAMESPACES, StructureReader(NAMESPACES).read).publish(bytes(whole[:end]))


def test_nesting_is_bounded() -> None:
    with pytest.raises(DecodeError, match="nested too deeply"):
        BinaryReader(bytes([24]) * 5000).variant()


def test_status_becomes_quality_and_the_overflow_bit_is_taken_out() -> None:
    assert is_overflow(0x00000480)
    assert to_quality(0x00000480) == GOOD
    assert to_quality(0x40920480) == UNCERTAIN_INITIAL_VALUE
    assert not is_overflow(0x80)
    reader = BinaryReader(struct_to_binary(ua.DataValue(ua.Variant(), StatusCode=ua.StatusCode(0))))
    assert to_sample("t", reader.data_value()).quality == BAD_DATA_UNAVAILABLE
