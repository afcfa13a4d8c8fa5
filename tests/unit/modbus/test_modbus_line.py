"""When a serial line counts as silent, and when its noise is more than noise."""

from __future__ import annotations

from pymodbus.framer import FramerRTU

from millstream.connectors.modbus._line import DAMAGED_IN_A_ROW_MAX, SETTLE_S, Line
from millstream.protocols.modbus_rtu import State

SETTLE_NS = int(SETTLE_S * 1e9)
REQUEST = bytes.fromhex("010300000001840A")


def settled() -> Line:
    """At rest since 0."""
    line = Line()
    assert line.rest_s(0) == SETTLE_S
    assert line.rest_s(SETTLE_NS) == 0
    return line


def test_a_line_that_was_just_opened_has_to_be_silent_first() -> None:
    line = Line()
    line.rest_s(0)
    line.received(b"\x01", SETTLE_NS // 2)
    assert line.rest_s(SETTLE_NS) > 0
    assert line.rest_s(SETTLE_NS // 2 + SETTLE_NS) == 0


def test_after_a_good_answer_nothing_is_waited_for() -> None:
    line = settled()
    line.sent(REQUEST)
    frame = bytes.fromhex("0103020007")
    answer = frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")
    assert line.received(answer, 2 * SETTLE_NS).state is State.COMPLETE
    line.answered()
    assert line.rest_s(2 * SETTLE_NS) == 0


def test_after_a_request_was_given_up_its_late_answer_is_waited_out() -> None:
    line = settled()
    line.sent(REQUEST)
    line.received(b"\x01\x03", 2 * SETTLE_NS)
    assert line.gave_up(5 * SETTLE_NS) == b"\x01\x03"
    assert line.rest_s(5 * SETTLE_NS) == SETTLE_S
    assert line.received(b"\x01\x03\x02\0\x07", 5 * SETTLE_NS + 1).state is State.WAITING
    assert line.rest_s(6 * SETTLE_NS) > 0
    assert line.rest_s(6 * SETTLE_NS + 1) == 0


def test_damage_is_counted_in_a_row() -> None:
    line = settled()
    for _ in range(2):
        assert [line.damaged() for _ in range(DAMAGED_IN_A_ROW_MAX - 1)] == [False] * (DAMAGED_IN_A_ROW_MAX - 1)
        line.answered()
    assert [line.damaged() for _ in range(DAMAGED_IN_A_ROW_MAX)][-1]
