"""What a flow that does not run keeps from being forgotten, and when that is worth an alarm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from millstream.bus import StreamInfo
from millstream.sdk.testing import LoopClock
from millstream.worker._holds import Hold, HoldAlarms, hold_of, hold_text

MIB = 1 << 20
INFO = StreamInfo("E_e1_I", "t", 100, 80 * MIB, 101, 200, {"max_bytes": 100 * MIB, "discard": "new"}, {})


@pytest.mark.parametrize(("from_seq", "is_tight"), [(101, True), (120, True), (199, False), (201, False)])
def test_a_hold_is_tight_when_the_stream_should_be_trimmed_beyond_it(from_seq: int, is_tight: bool) -> None:
    found = hold_of(INFO, from_seq)
    assert (found.is_tight, found.fill, found.is_lossy) == (is_tight, 0.8, False)


def test_a_stream_with_room_or_without_bound_is_not_tight() -> None:
    assert not hold_of(replace(INFO, bytes=20 * MIB), 101).is_tight
    assert not hold_of(replace(INFO, config={}), 101).is_tight


def test_a_stream_that_drops_its_oldest_is_told_apart() -> None:
    found = hold_of(replace(INFO, config={"max_bytes": 100 * MIB, "discard": "old"}), 101)
    assert (found.is_tight, found.is_lossy) == (True, True)


def test_room_is_no_alarm_and_a_tight_stream_says_what_where_and_what_to_do() -> None:
    easy = Hold("E_e1_F", 5, 0.2, is_tight=False, is_lossy=False)
    assert hold_text("parts", "is paused", "resume it", [easy]) is None
    tight = Hold("E_e1_I", 7, 0.82, is_tight=True, is_lossy=False)
    lossy = Hold("E_e1_T", 9, 0.95, is_tight=True, is_lossy=True)
    assert hold_text("parts", "is paused", "resume it", [easy, tight, lossy]) == (
        "flow parts is paused: E_e1_I is 82% full and cannot be trimmed: message 7 waits for it; "
        "E_e1_T is 95% full and forgets its oldest messages: message 9 waits for it; resume it"
    )


class Lines:
    def __init__(self) -> None:
        self.found: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        self.found.append(event)

    warning = error = info


async def test_an_alarm_keeps_its_beginning_while_its_text_changes_and_is_told_once() -> None:
    lines = Lines()
    alarms = HoldAlarms(LoopClock(), lines)
    alarms.note("parts", "41 %")
    (_, since_ns) = alarms.active[0]
    alarms.note("parts", "42 %")
    assert alarms.active == [("42 %", since_ns)]
    alarms.note("parts", None)
    assert alarms.active == []
    assert lines.found == ["41 % [MS-0709]", "MS-0709 is over"]
