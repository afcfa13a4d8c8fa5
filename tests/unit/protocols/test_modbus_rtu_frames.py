"""Frames of Modbus RTU among what a line brings, with the check sum of another implementation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from millstream.protocols.modbus_rtu import FRAME_BYTES_MAX, Finding, State, crc16, find_answer, silence_s


def framed(pdu: str, unit_id: int = 17) -> bytes:
    """Unit, PDU, check sum by pymodbus."""
    frame = bytes((unit_id,)) + bytes.fromhex(pdu)
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


READ = framed("03006B0003")
ANSWER = framed("0306AE4156524340")
REFUSAL = framed("8302")
EXCHANGES = [
    (READ, ANSWER),
    (READ, REFUSAL),
    (framed("0113001300"[:10]), framed("0101CD")),
    (framed("0500ACFF00"), framed("0500ACFF00")),
    (framed("1000010002040A0B0102"), framed("1000010002")),
    (framed("16000400F20025"), framed("16000400F20025")),
]


def test_the_check_sum_is_that_of_the_standard() -> None:
    """MODBUS over Serial Line 1.02, appendix B: 02 07 gives 41 12 on the wire."""
    assert crc16(b"\x02\x07") == b"\x41\x12"


@given(st.binary(max_size=300))
def test_the_check_sum_is_that_of_pymodbus(data: bytes) -> None:
    assert crc16(data) == FramerRTU.compute_CRC(data).to_bytes(2, "big")


@pytest.mark.parametrize(("request_frame", "answer"), EXCHANGES)
def test_an_answer_is_complete_with_its_last_byte_and_not_before(request_frame: bytes, answer: bytes) -> None:
    for size in range(len(answer)):
        assert find_answer(answer[:size], request_frame).state is State.WAITING
    assert find_answer(answer, request_frame) == Finding(State.COMPLETE, answer, 0)


@pytest.mark.parametrize("before", [b"\0", b"\xff\xff", b"\x11", b"\x11\x03", framed("0306000100020003", 18)])
@pytest.mark.parametrize(("request_frame", "answer"), EXCHANGES)
def test_bytes_before_the_answer_are_skipped(request_frame: bytes, answer: bytes, before: bytes) -> None:
    """A driver that is switched on makes some; so does another unit that answers too late."""
    assert find_answer(before + answer, request_frame) == Finding(State.COMPLETE, answer, len(before))


@pytest.mark.parametrize("at", range(len(ANSWER)))
@pytest.mark.parametrize("bit", range(8))
def test_an_answer_with_any_bit_turned_is_never_taken(at: int, bit: int) -> None:
    spoiled = bytearray(ANSWER)
    spoiled[at] ^= 1 << bit
    assert find_answer(bytes(spoiled), READ).state is not State.COMPLETE


def test_a_turned_bit_in_the_values_is_known_as_damage_at_once() -> None:
    assert find_answer(ANSWER[:5] + b"\0" + ANSWER[6:], READ).state is State.DAMAGED


def test_an_answer_of_another_unit_or_function_is_not_taken() -> None:
    for foreign in (framed("0306AE4156524340", 18), framed("0406AE4156524340")):
        assert find_answer(foreign, READ).state is State.DAMAGED


def test_a_short_answer_with_a_good_check_sum_is_an_answer() -> None:
    """Some devices answer short past their end; what that means is the session's to say."""
    short = framed("0302AE41")
    assert find_answer(short, READ) == Finding(State.COMPLETE, short, 0)


def test_the_silence_before_a_request_is_three_and_a_half_characters_but_bounded_below() -> None:
    assert silence_s(9600) == pytest.approx(0.00401, rel=0.01)
    assert silence_s(115_200) == 0.00175


@settings(max_examples=2000)
@given(st.binary(max_size=600), st.sampled_from([request for request, _ in EXCHANGES]))
def test_any_noise_is_waited_on_for_a_bounded_time_and_never_taken_without_its_check_sum(
    noise: bytes, request_frame: bytes
) -> None:
    """2,000 random lines."""
    finding = find_answer(noise, request_frame)
    if finding.state is State.COMPLETE:
        assert crc16(finding.frame[:-2]) == finding.frame[-2:]
        assert noise[finding.skipped_bytes :].startswith(finding.frame)
    if len(noise) >= 2 * FRAME_BYTES_MAX:
        assert finding.state is not State.WAITING
