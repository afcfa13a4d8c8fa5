"""Answers of a PLC: what snap7's server sends, what refusals look like, and anything else."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.kernel import DecodeError
from millstream.protocols.s7_address import Area
from millstream.protocols.s7_plan import Block
from millstream.protocols.s7_wire import (
    DONE,
    Item,
    cpu_state,
    parse_answer,
    parse_items,
    parse_write_code,
    pdu_bytes_of,
)

REQUEST = bytes.fromhex("320100000005000e0000")
# Recorded from the C++ server of snap7 (node-snap7 1.0.9) for DB2, which it does not have, and for bytes past an end.
NO_SUCH_BLOCK = bytes.fromhex("3203000000050002000400000401" + "0a000004")
PAST_THE_END = bytes.fromhex("3203000000050002000400000401" + "05000004")
# Recorded likewise: the mode of a running and of a stopped CPU.
RUNS = bytes.fromhex("001400015144ff0800000000000000002611211119080006")
STOPPED = bytes.fromhex("001400015144ff0400000000000000002611211119080006")


def block(size: int) -> Block:
    """Of DB1."""
    return Block(Area.DATA_BLOCK, 1, 0, size, (0,))


def answer(data: bytes, *, items: int = 1, error: int = 0, function: int = 4) -> bytes:
    """A frame with number 5."""
    return struct.pack(">BBHHHHH", 0x32, 3, 0, 5, 2, len(data), error) + bytes((function, items)) + data


def items_of(frame: bytes, *sizes: int) -> list[Item]:
    """Both steps."""
    return parse_items(parse_answer(frame, REQUEST), tuple(block(size) for size in sizes))


def test_the_return_code_of_a_missing_block_is_kept_which_the_library_calls_truncated() -> None:
    """python-snap7 3.3 raises "Data item is truncated" for both."""
    assert items_of(NO_SUCH_BLOCK, 1) == [Item(0x0A)]
    assert items_of(PAST_THE_END, 10) == [Item(0x05)]


def test_each_item_has_its_own_code_and_odd_ones_a_fill_byte_behind_them() -> None:
    data = bytes.fromhex("ff040008" + "0100" + "0a000000" + "ff090003" + "020304")
    assert items_of(answer(data, items=3), 1, 2, 3) == [Item(DONE, b"\1"), Item(10), Item(DONE, b"\2\3\4")]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"", "too short"),
        (NO_SUCH_BLOCK[:11], "too short"),
        (b"\x33" + NO_SUCH_BLOCK[1:], "no S7 answer"),
        (b"\x32\1" + NO_SUCH_BLOCK[2:], "no S7 answer"),
        (NO_SUCH_BLOCK[:5] + b"\6" + NO_SUCH_BLOCK[6:], "another request"),
        (NO_SUCH_BLOCK[:-1], "cut off"),
        (NO_SUCH_BLOCK + b"\0", "cut off or too long"),
        (answer(b"\xff\4\0\x10\1\2", items=2), "not the answer"),
        (answer(b"\xff\4\0\x10\1\2", function=5), "not the answer"),
        (answer(b""), "too few items"),
        (answer(b"\xff\4\0\x08\1"), "another size"),
        (answer(b"\xff\4\0\x18\1\2\3"), "another size"),
        (answer(b"\xff\4\0\x10\1"), "another size"),
        (answer(b"\xff\4\0\x10\1\2\3\4"), "left over"),
    ],
)
def test_an_answer_that_is_not_the_answer_is_refused(frame: bytes, words: str) -> None:
    """A value must never come from another request's bytes, or from a shifted place."""
    with pytest.raises(DecodeError, match=words):
        items_of(frame, 2)


def test_an_error_in_the_header_is_kept() -> None:
    assert parse_answer(answer(b"", error=0x8104), REQUEST).error == 0x8104


def test_the_size_that_the_plc_agrees_to_is_read() -> None:
    frame = struct.pack(">BBHHHHH", 0x32, 3, 0, 5, 8, 0, 0) + struct.pack(">BBHHH", 0xF0, 0, 1, 1, 240)
    assert pdu_bytes_of(parse_answer(frame, REQUEST)) == 240
    with pytest.raises(DecodeError):
        pdu_bytes_of(parse_answer(frame[:-2] + b"\0\x20", REQUEST))
    with pytest.raises(DecodeError):
        pdu_bytes_of(parse_answer(answer(b""), REQUEST))


def test_the_code_of_a_write_is_read() -> None:
    assert parse_write_code(parse_answer(answer(b"\xff", function=5), REQUEST)) == DONE
    assert parse_write_code(parse_answer(answer(b"\5", function=5), REQUEST)) == 5
    with pytest.raises(DecodeError):
        parse_write_code(parse_answer(answer(b"\xff"), REQUEST))


def test_the_mode_of_the_cpu_is_read() -> None:
    assert cpu_state(RUNS) == (True, "run")
    assert cpu_state(STOPPED) == (False, "stop")
    assert cpu_state(RUNS[:7] + b"\x4d") == (False, "defective")
    for short in (b"", RUNS[:7], b"\0\x14\0\0" + RUNS[4:]):
        with pytest.raises(DecodeError):
            cpu_state(short)


@settings(max_examples=2000)
@given(st.binary(max_size=80), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_any_bytes_are_an_answer_or_refused(data: bytes, sizes: list[int]) -> None:
    """2,000 random answers, first raw, then as the data of a well-formed one."""
    for frame in (data, answer(data, items=len(sizes))):
        with contextlib.suppress(DecodeError):
            found = items_of(frame, *sizes)
            assert [len(item.data) for item in found if item.code == DONE] == [
                size for size, item in zip(sizes, found, strict=True) if item.code == DONE
            ]
    with contextlib.suppress(DecodeError):
        cpu_state(data)
