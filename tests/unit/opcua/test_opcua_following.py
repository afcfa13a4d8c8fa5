"""One tag through outages: each sample once, in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.connectors.opcua._following import CATCH_UP_TRIES_MAX, WAITING_MAX, Followed, Positions
from millstream.model import Quality, Sample
from millstream.sdk import Position, Tag

MS = 1_000_000


def sample(number: int, key: str = "t") -> Sample:
    """The n-th value, n milliseconds after the epoch."""
    return Sample(key, number, Quality(0), number * MS)


def followed(newest: int | None, *, has_history: bool = True) -> Followed:
    """A tag whose newest stored sample is the n-th."""
    return Followed(Tag("t", "i=1"), 0, newest_ns=None if newest is None else newest * MS, has_history=has_history)


def test_without_a_stored_sample_everything_passes() -> None:
    tag = followed(None)
    assert [tag.offer(sample(n), lost=False) for n in (1, 2, 3)] == [True] * 3


def test_the_current_value_repeated_to_a_new_subscription_is_dropped_once() -> None:
    tag = followed(5)
    assert not tag.offer(sample(5), lost=False)
    assert not tag.is_filling
    assert tag.offer(sample(5), lost=False)


def test_a_bad_sample_without_a_time_does_not_end_the_search_for_a_gap() -> None:
    tag = followed(5)
    assert tag.offer(Sample("t", None, Quality(0x80320000), None), lost=False)
    assert not tag.offer(sample(9), lost=False)
    assert tag.is_filling


def test_an_overflow_begins_a_filling_only_with_history() -> None:
    for has_history in (True, False):
        tag = followed(None, has_history=has_history)
        assert tag.offer(sample(1), lost=False)
        assert tag.offer(sample(9), lost=True) != has_history
        assert tag.is_filling == has_history


def test_history_that_never_shows_the_first_live_sample_does_not_hold_it_for_ever() -> None:
    tag = followed(5)
    tag.offer(sample(9), lost=False)
    passed: list[Sample] = []
    for _ in range(CATCH_UP_TRIES_MAX):
        assert tag.is_filling
        passed += tag.fill([], is_last=True)
    assert [s.value for s in passed] == [9]


def test_too_many_waiting_samples_make_the_gap_longer_instead_of_memory() -> None:
    tag = followed(0)
    last = WAITING_MAX * 2 + 10
    for number in range(5, last + 1):
        tag.offer(sample(number), lost=False)
    assert len(tag.waiting) <= WAITING_MAX
    passed: list[Sample] = []
    history = [sample(n) for n in range(last + 1)]
    while tag.is_filling:
        start = (tag.newest_ns or 0) // MS
        page = history[start : start + 1000]
        passed += tag.fill(page, is_last=len(page) < 1000)
    assert [s.value for s in passed] == list(range(1, last + 1))


@settings(max_examples=200)
@given(st.data())
def test_whatever_the_interleaving_each_sample_comes_once_and_in_order(data: st.DataObject) -> None:
    newest = data.draw(st.integers(0, 20), label="newest stored")
    first_live = data.draw(st.integers(newest, newest + 30), label="first live")
    live_count = data.draw(st.integers(1, 30), label="live")
    page_size = data.draw(st.integers(2, 12), label="page")
    tag = followed(newest)
    passed: list[Sample] = []
    live = [sample(n) for n in range(first_live, first_live + live_count)]
    written = first_live - 1  # what the server's history holds: it lags behind what it notifies
    while live or tag.is_filling:
        if live and (not tag.is_filling or data.draw(st.booleans())):
            found = live.pop(0)
            if tag.offer(found, lost=False):
                passed.append(found)
        else:
            written = min(written + data.draw(st.integers(0, 5)), first_live + live_count - 1 - len(live))
            start = (tag.newest_ns or 0) // MS
            page = [sample(n) for n in range(start, written + 1)][:page_size]
            passed += tag.fill(page, is_last=len(page) < page_size)
    assert [s.value for s in passed] == list(range(newest + 1, first_live + live_count))


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 2**61).map(lambda n: n // 100 * 100), max_size=20)
)
def test_a_position_survives_its_bytes(newest: dict[str, int]) -> None:
    positions = Positions(list(newest))
    positions.advance([Sample(key, 1, Quality(0), time_ns) for key, time_ns in newest.items()])
    encoded = positions.encode()
    assert (encoded is None) == (not newest)
    assert Positions([*newest, "another"]).resume(encoded) == newest


def test_a_foreign_position_counts_as_none() -> None:
    for raw in (
        b"",
        b"x",
        b"[]",
        b"{}",
        b'{"base_ns": "x", "ticks_before": {}}',
        b'{"base_ns": 1, "ticks_before": [1]}',
    ):
        assert Positions(["t"]).resume(Position(raw)) == {}


def test_a_late_sample_does_not_move_the_position_back_but_a_clock_set_back_does() -> None:
    positions = Positions(["t"])
    positions.advance([sample(10), sample(3), sample(11)])
    assert Positions(["t"]).resume(positions.encode()) == {"t": 11 * MS}
    positions.advance([sample(4), sample(5)])
    assert Positions(["t"]).resume(positions.encode()) == {"t": 5 * MS}
