"""Modbus addresses, blocks and values, against vectors computed here with struct."""

from __future__ import annotations

import math
import random
import struct

import pytest

from millstream.kernel import ConfigError, DecodeError
from millstream.model import Value
from millstream.protocols.modbus_plan import (
    ORDERS,
    Hole,
    PlanLimits,
    Point,
    Table,
    answer_fault,
    decode_bits,
    decode_registers,
    encode_registers,
    format_address,
    parse_address,
    parse_range,
    plan_requests,
    points_of,
    registers_to_bytes,
    split_request,
)

NUMBERS: list[tuple[str, str, Value]] = [
    ("int16", "h", -12345),
    ("uint16", "H", 54321),
    ("float16", "e", -1.5),
    ("int32", "i", -1234567890),
    ("uint32", "I", 0xDEADBEEF),
    ("float32", "f", 1.25 * 2.0**33),
    ("int64", "q", -(2**62) - 12345),
    ("uint64", "Q", 2**64 - 2),
    ("float64", "d", math.pi),
]


def on_wire(big_endian: bytes, order: str) -> bytes:
    """What a device with `order` sends, spelled out: words reversed, bytes in words reversed, both, or none."""
    words = [big_endian[i : i + 2] for i in range(0, len(big_endian), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return b"".join(words)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("data_type", "letter", "value"), NUMBERS)
def test_every_number_in_every_order_is_read_and_written(data_type: str, letter: str, value: Value, order: str) -> None:
    if struct.calcsize(letter) == 2:
        order = {"ABCD": "AB", "CDAB": "AB", "BADC": "BA", "DCBA": "BA"}[order]
    raw = on_wire(struct.pack(">" + letter, value), {"AB": "ABCD", "BA": "BADC"}.get(order, order))
    point = parse_address(f"holding:10:{data_type}:{order}")
    assert decode_registers(point, 8, b"\xaa" * 4 + raw + b"\xbb" * 4) == value
    assert registers_to_bytes(encode_registers(point, value)) == raw


@pytest.mark.parametrize("order", ORDERS)
def test_a_list_turns_each_value_by_itself(order: str) -> None:
    values = [1.5, -2.25, 1e-30]
    raw = b"".join(on_wire(struct.pack(">f", value), order) for value in values)
    point = parse_address(f"input:0:float32[3]:{order}")
    read = decode_registers(point, 0, raw)
    assert isinstance(read, list)
    assert [struct.pack(">f", value) for value in read] == [struct.pack(">f", value) for value in values]
    assert registers_to_bytes(encode_registers(point, list(values))) == raw


def test_the_connectors_order_turns_only_values_of_several_registers() -> None:
    raw = struct.pack(">H", 0x1234)
    assert decode_registers(parse_address("holding:0", "DCBA"), 0, raw) == 0x1234
    assert decode_registers(parse_address("holding:0:string(2)", "DCBA"), 0, b"ab") == "ab"
    assert decode_registers(parse_address("holding:0:uint32", "CDAB"), 0, b"\0\1\0\0") == 1
    assert decode_registers(parse_address("holding:0:uint32:ABCD", "CDAB"), 0, b"\0\1\0\0") == 65536


@pytest.mark.parametrize(
    ("address", "raw", "value"),
    [
        ("holding:0:int8", b"\x7f\x80", -128),
        ("holding:0:uint8", b"\x7f\x80", 128),
        ("holding:0:int8_high", b"\xff\x01", -1),
        ("holding:0:uint8_high", b"\xff\x01", 255),
        ("holding:0:bcd16", b"\x12\x34", 1234),
        ("holding:0:bcd32:CDAB", b"\x56\x78\x12\x34", 12345678),
        ("holding:0:bcd64", b"\x00\x12\x34\x56\x78\x90\x12\x34", 12345678901234),
        ("holding:0.0", b"\x00\x01", True),
        ("holding:0.15", b"\x80\x00", True),
        ("holding:0.14", b"\x80\x00", False),
        ("holding:0:string(5)", "né y\0".encode(), "né y"),
        ("holding:0:string(4):BA", b"baYX", "abXY"),
        ("holding:0:string(4)", b"a\0zz", "a"),
        ("holding:0:string(4)", b"ab  ", "ab"),
        ("holding:0:bytes(3)", b"\0\xff\0\x77", b"\0\xff\0"),
    ],
)
def test_small_types_bits_text_and_decimals_are_read(address: str, raw: bytes, value: Value) -> None:
    point = parse_address(address)
    got = decode_registers(point, 0, raw)
    assert got == value
    assert type(got) is type(value)


def test_what_is_no_decimal_or_no_text_is_refused() -> None:
    with pytest.raises(DecodeError, match="binary coded"):
        decode_registers(parse_address("holding:0:bcd16"), 0, b"\x12\x3a")
    with pytest.raises(DecodeError, match="UTF-8"):
        decode_registers(parse_address("holding:0:string(2)"), 0, b"\xff\xfe")


def test_bits_are_taken_from_where_they_lie() -> None:
    bits = [False, True, True, False, True, False, False, False]
    assert decode_bits(parse_address("coil:101"), 100, bits) is True
    assert decode_bits(parse_address("discrete:102:bool[3]"), 100, bits) == [True, False, True]


@pytest.mark.parametrize(
    ("text", "table", "address", "data_type", "count"),
    [
        ("coil:0", Table.COIL, 0, "bool", 1),
        ("discrete:65535", Table.DISCRETE, 65535, "bool", 1),
        ("holding:7", Table.HOLDING, 7, "uint16", 1),
        (" input:40:float32 ", Table.INPUT, 40, "float32", 2),
        ("40001", Table.HOLDING, 0, "uint16", 1),
        ("465536", Table.HOLDING, 65535, "uint16", 1),
        ("30101:float64", Table.INPUT, 100, "float64", 4),
        ("00001", Table.COIL, 0, "bool", 1),
        ("10010", Table.DISCRETE, 9, "bool", 1),
        ("holding:0:string(250)", Table.HOLDING, 0, "string", 125),
        ("holding:0:uint16[125]", Table.HOLDING, 0, "uint16", 125),
        ("coil:0:bool[2000]", Table.COIL, 0, "bool", 2000),
    ],
)
def test_addresses_are_understood(text: str, table: Table, address: int, data_type: str, count: int) -> None:
    point = parse_address(text)
    assert (point.table, point.address, point.data_type, point.count) == (table, address, data_type, count)


@pytest.mark.parametrize(
    "text",
    [
        "", "holding", "holding:", "holding:-1", "holding:65536", "holding:65535:uint32", "holdin:1", "7", "1234",
        "20001", "40000", "50001", "holding:1:flot32", "holding:1:bool", "coil:1:uint16", "coil:1.2", "holding:1.16",
        "holding:1.3:uint16", "holding:1.3:bool[2]", "holding:0:string", "holding:0:string(0)", "holding:0:string(251)",
        "holding:0:uint16(2)", "holding:0:uint16[0]", "holding:0:uint16[126]", "holding:0:uint32[63]",
        "coil:0:bool[2001]", "holding:0:uint32:AB", "holding:0:uint16:ABCD", "holding:0:uint32:ABDC", "holding:0\n:x",
        "holding:0:uint32:abcd", "holding:٣",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert caught.value.code == "MS-0120"
    assert caught.value.expected


def test_a_slip_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean float32"):
        parse_address("holding:1:flot32")
    with pytest.raises(ConfigError, match="did you mean holding"):
        parse_address("holdin:1")


def test_ranges_are_understood_or_refused() -> None:
    assert parse_range("holding:100-120") == Hole(Table.HOLDING, 100, 120)
    assert parse_range("coil:5") == Hole(Table.COIL, 5, 5)
    for text in ("holding", "holding:2-1", "register:1-2", "holding:1-65536"):
        with pytest.raises(ConfigError):
            parse_range(text)


def planned(*texts: str, limits: PlanLimits | None = None) -> list[tuple[int, int]]:
    """(start, count) of each request for `texts` of one unit."""
    points = [(1, point) for point in points_of(texts)]
    return [(request.start, request.count) for request in plan_requests(points, limits or PlanLimits())]


def test_neighbours_share_a_request_up_to_the_gap() -> None:
    assert planned("holding:0", "holding:17") == [(0, 18)]
    assert planned("holding:0", "holding:18") == [(0, 1), (18, 1)]
    assert planned("holding:0", "holding:2", limits=PlanLimits(gap_max=0)) == [(0, 1), (2, 1)]
    assert planned("holding:5", "input:6", "coil:7") == [(7, 1), (5, 1), (6, 1)]


def test_no_request_is_longer_than_the_cap() -> None:
    assert planned(*(f"holding:{n}" for n in range(250))) == [(0, 125), (125, 125)]
    assert planned("holding:0:uint32", "holding:2:uint32", limits=PlanLimits(registers_count_max=3)) == [(0, 2), (2, 2)]
    assert planned("coil:0", "coil:200", "coil:1999", limits=PlanLimits(gap_max=125)) == [(0, 2000)]


def test_a_hole_is_never_touched() -> None:
    limits = PlanLimits(holes=(parse_range("holding:3-4"),))
    assert planned("holding:0", "holding:2", "holding:5", limits=limits) == [(0, 3), (5, 1)]
    assert planned("input:0", "input:5", limits=limits) == [(0, 6)]


def test_a_point_that_lies_in_another_adds_nothing() -> None:
    assert planned("holding:0:uint16[10]", "holding:3", "holding:2.5", "holding:12") == [(0, 13)]


def test_units_never_share_a_request() -> None:
    point = parse_address("holding:0")
    assert len(plan_requests([(1, point), (2, point)], PlanLimits())) == 2


def test_a_plan_covers_each_point_once_and_keeps_the_limits() -> None:
    chance = random.Random(4)
    for _ in range(200):
        points = [(chance.randint(1, 2), random_point(chance)) for _ in range(chance.randint(1, 60))]
        limits = PlanLimits(chance.randint(0, 30), chance.randint(4, 125))
        seen: list[int] = []
        for request in plan_requests(points, limits):
            assert request.count <= limits.registers_count_max
            seen.extend(request.members)
            for unit_id, point in (points[index] for index in request.members):
                assert (unit_id, point.table) == (request.unit_id, request.table)
                assert request.start <= point.address
                assert point.end <= request.start + request.count
        assert sorted(seen) == list(range(len(points)))


def random_point(chance: random.Random) -> Point:
    """A register point of one to four registers."""
    data_type = chance.choice(("uint16", "float32", "int64"))
    return parse_address(f"{chance.choice(('holding', 'input'))}:{chance.randint(0, 300)}:{data_type}")


def test_a_refused_block_is_cut_at_its_widest_gap_until_each_point_is_alone() -> None:
    points = [(1, point) for point in points_of(("holding:0", "holding:1", "holding:9", "holding:10:float32"))]
    (whole,) = plan_requests(points, PlanLimits())
    left, right = split_request(whole, points)
    assert [(r.start, r.count, r.members) for r in (left, right)] == [(0, 2, (0, 1)), (9, 3, (2, 3))]
    alone = [part for half in (left, right) for part in split_request(half, points)]
    assert [(r.start, r.count) for r in alone] == [(0, 1), (1, 1), (9, 1), (10, 2)]
    assert all(split_request(part, points) == (part,) for part in alone)


@pytest.mark.parametrize(
    ("address", "value", "error"),
    [
        ("holding:0", 65536, OverflowError),
        ("holding:0", -1, OverflowError),
        ("holding:0", 1.0, TypeError),
        ("holding:0", True, TypeError),
        ("holding:0", None, TypeError),
        ("holding:0:float32", 1e39, OverflowError),
        ("holding:0:float32", "1", TypeError),
        ("holding:0:bcd16", 10_000, OverflowError),
        ("holding:0:int8", 1, TypeError),
        ("holding:0:string(2)", "abc", OverflowError),
        ("holding:0:string(2)", b"ab", TypeError),
        ("holding:0:uint16[2]", [1], TypeError),
    ],
)
def test_values_that_cannot_be_written_are_refused(address: str, value: Value, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode_registers(parse_address(address), value)


def test_a_whole_number_is_written_to_a_float_and_text_is_filled_with_zeros() -> None:
    assert registers_to_bytes(encode_registers(parse_address("holding:0:float32"), 2)) == struct.pack(">f", 2.0)
    assert registers_to_bytes(encode_registers(parse_address("holding:0:string(5)"), "ab")) == b"ab\0\0\0\0"
    assert registers_to_bytes(encode_registers(parse_address("holding:0:bcd32"), 42)) == b"\0\0\0\x42"


REQUEST = struct.pack(">HHHBB", 7, 0, 6, 1, 3)


def answered(pdu: bytes, *, transaction: int = 7, protocol: int = 0, length: int | None = None) -> bytes:
    """A frame with `pdu`."""
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1 if length is None else length, 1) + pdu


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        answered(b"\x03\x02\0\1")[:7],
        answered(b"\x03\x02\0\1"),
        answered(b"\x03\x00"),
        answered(b"\x83\x02"),
        answered(b"\x04\x02\0\1", transaction=6) + answered(b"\x03\x02\0\1"),
    ],
)
def test_an_answer_part_of_one_or_a_late_one_is_no_fault(frame: bytes) -> None:
    assert answer_fault(frame, REQUEST) is None


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (answered(b"\x03\x02\0\1", protocol=1), "protocol id"),
        (answered(b"\x03\x02\0\1", length=1000), "length is 1000"),
        (answered(b"\x03\x02\0\1", length=0), "length is 0"),
        (answered(b"\x04\x02\0\1"), "function is 4"),
        (answered(b"\x03\x09\0\1"), "byte count is 9"),
        (b"HTTP/1.1 400 Bad Request\r\n", "protocol id"),
    ],
)
def test_what_is_no_answer_is_named(frame: bytes, words: str) -> None:
    assert words in (answer_fault(frame, REQUEST) or "")


def test_an_answer_to_a_write_has_its_exact_length() -> None:
    request = struct.pack(">HHHBB", 7, 0, 6, 1, 6)
    assert answer_fault(answered(b"\x06\0\0\0\1"), request) is None
    assert "expected 6" in (answer_fault(answered(b"\x06\0\0"), request) or "")


def test_an_address_has_a_short_text() -> None:
    assert parse_address(format_address(Table.INPUT, 12)) == parse_address("input:12")
