"""Conditions of one data item: several at once, each begun and ended once."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from millstream.protocols.mtconnect_condition import ACTIVE_MAX, ConditionBook, Fields
from millstream.protocols.shdr import Kind, Observation, ShdrParser, decode_event

ROOT = Path(__file__).resolve().parents[3]
OKUMA = ROOT / "tests" / "data" / "okuma.txt.gz"
MAZAK = ROOT / "src" / "millstream" / "sim" / "data" / "mazak01.txt.gz"


def condition(level: str, code: str = "", text: str = "") -> Fields:
    """As the decoder gives it."""
    return {"level": level, "native_code": code, "native_severity": "", "qualifier": "", "text": text}


def told(book: ConditionBook, *fields: Fields | None) -> list[tuple[str, str, bool]]:
    """Code, level and state of each change."""
    changes = [change for one in fields for change in book.take("c", one)]
    return [(str(c.fields["native_code"]), str(c.fields["level"]), c.is_active) for c in changes]


def test_each_condition_is_told_once_when_it_begins_changes_and_ends() -> None:
    book = ConditionBook()
    assert told(book, condition("NORMAL")) == []
    assert told(book, condition("FAULT", "E1"), condition("FAULT", "E1")) == [("E1", "FAULT", True)]
    assert told(book, condition("WARNING", "W1")) == [("W1", "WARNING", True)]
    assert told(book, condition("WARNING", "E1")) == [("E1", "WARNING", True)]
    assert [fields["native_code"] for fields in book.active("c")] == ["E1", "W1"]
    assert told(book, condition("NORMAL", "E1"), condition("NORMAL", "E1")) == [("E1", "NORMAL", False)]
    assert told(book, condition("FAULT", "E2"), condition("NORMAL")) == [
        ("E2", "FAULT", True), ("W1", "NORMAL", False), ("E2", "NORMAL", False),
    ]  # fmt: skip
    assert told(book, condition("FAULT", "E3"), None) == [("E3", "FAULT", True), ("E3", "UNAVAILABLE", False)]


def test_what_is_shown_after_a_gap_tells_only_what_is_new_and_what_is_gone() -> None:
    book = ConditionBook()
    told(book, condition("FAULT", "E1"), condition("FAULT", "E2"))
    shown = {"c": [condition("FAULT", "E2"), condition("WARNING", "W1")], "d": [condition("NORMAL")]}
    changes = [(c.item, c.fields["native_code"], c.is_active) for c in book.replace(shown)]
    assert sorted(changes) == [("c", "E1", False), ("c", "W1", True)]
    assert book.replace(shown) == []
    assert [c.is_active for c in book.replace({})] == [False, False]


def test_conditions_of_one_data_item_are_bounded() -> None:
    book = ConditionBook()
    told(book, *(condition("FAULT", str(number)) for number in range(ACTIVE_MAX + 10)))
    assert len(book.active("c")) == ACTIVE_MAX


@pytest.mark.parametrize(("recording", "alarms"), [(OKUMA, []), (MAZAK, [True, False])])
def test_recorded_machines_begin_and_end_their_conditions_in_turn(recording: Path, alarms: list[bool]) -> None:
    parser, book = ShdrParser({}), ConditionBook()
    with gzip.open(recording, "rb") as stream:
        events = parser.feed(stream.read(), 0)
    conditions = [event for event in events if isinstance(event, Observation) and event.kind is Kind.CONDITION]
    assert len(conditions) > 20
    told: list[bool] = []
    for event in conditions:
        _, value, _ = decode_event(event)
        told += [change.is_active for change in book.take(event.key, value if isinstance(value, dict) else None)]
    assert told == alarms
