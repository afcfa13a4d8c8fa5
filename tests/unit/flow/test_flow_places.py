"""Where a flow stands in a stream that may lose its newest messages and take them again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millstream.flow._places import MARKS_MAX, Mark, is_from, origin_of, with_mark
from millstream.sdk import Received

HEADERS = b"NATS/1.0\r\nMs-Count: 1\r\nNats-Stream-Source: E_e1_F:x 41 > > uns.v1.a ab:cd\r\n\r\n"


def test_a_sourced_message_has_the_name_and_sequence_of_its_origin() -> None:
    origin, received = origin_of("H_INTEGRITY", Received("s", b"", HEADERS, 900, 5))
    assert (origin, received.seq) == ("E_e1_F@ab_cd", 41)
    assert is_from(origin, "E_e1_F")
    assert not is_from(origin, "E_e1")


def test_what_was_stored_here_first_is_its_own_origin() -> None:
    received = Received("s", b"", None, 900, 5)
    assert origin_of("H_LOCAL", received) == ("H_LOCAL", received)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=300))
def test_marks_are_few_the_newest_is_there_and_so_are_old_ones(steps: list[int]) -> None:
    marks: list[Mark] = []
    seq = 0
    for step in steps:
        seq += step
        marks = with_mark(marks, Mark(seq, seq))
    assert len(marks) <= MARKS_MAX
    assert marks[-1].seq == seq
    assert marks[0].seq == steps[0]
    assert [m.seq for m in marks] == sorted({m.seq for m in marks})
