"""The part count that the adapter adds to the recording: programs that ran for long enough and came to their end."""

from __future__ import annotations

from millstream.sim.shdr_adapter import SAMPLE, Line, program_ends, read_lines


def _lines(*states: tuple[float, str]) -> list[Line]:
    return [Line(due_s, f"execution|{state}", ("execution",)) for due_s, state in states]


def _ends(*states: tuple[float, str]) -> list[float]:
    return [line.due_s for line in program_ends(_lines(*states)) if line.ends_program]


def test_a_program_that_comes_to_its_end_is_a_part() -> None:
    assert _ends((0, "ACTIVE"), (100, "READY")) == [100]
    assert _ends((0, "ACTIVE"), (50, "FEED_HOLD"), (55, "ACTIVE"), (100, "READY"), (110, "READY")) == [100]


def test_what_was_tried_or_broken_off_is_none() -> None:
    assert _ends((0, "ACTIVE"), (59, "READY")) == []
    assert _ends((0, "ACTIVE"), (100, "STOPPED"), (110, "READY")) == []
    assert _ends((0, "ACTIVE"), (80, "UNAVAILABLE"), (90, "ACTIVE"), (110, "READY")) == []


def test_the_recorded_machine_made_six_parts_and_its_own_count_is_left_out() -> None:
    lines = program_ends(read_lines(SAMPLE))
    assert sum(line.ends_program for line in lines) == 6
    assert not any("PartCountAct" in line.items for line in lines)
