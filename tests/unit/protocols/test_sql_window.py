"""The window of a poll by key: each row once, whatever comes late and whenever the reader dies."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import DecodeError
from millstream.protocols.sql_window import SEEN_MAX, Key, Overlap, Window, digest_of

HOUR = dt.timedelta(hours=1)
NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)

Row = tuple[int, str]


def poll(table: list[Row], window: Window, limit: int) -> list[Row]:
    """As a session: ask from the low key on, in the order of the key, take what is new."""
    low = window.low
    rows = sorted((row for row in table if low is None or (row[0],) >= low), key=lambda row: row[0])
    rows = rows[: limit + len(window.seen)]
    marked: list[tuple[Key, str]] = [((row[0],), digest_of(row)) for row in rows]
    fresh = window.fresh(marked)
    for index in fresh:
        window.take(*marked[index])
    return [rows[index] for index in fresh]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 2)), max_size=60),
    st.integers(1, 4),
    st.lists(st.integers(0, 59), max_size=10),
)
def test_each_row_comes_once_over_ties_late_rows_and_deaths(
    moves: list[tuple[int, str, int]], limit: int, deaths: list[int]
) -> None:
    overlap = Overlap(steps=3)
    table: list[Row] = []
    found: list[Row] = []
    highest = 0
    window = Window(overlap)
    for step, (ahead, text, behind) in enumerate(moves):
        highest += ahead
        table.append((max(0, highest - behind), text))  # at most two below the highest key that was ever there
        if step in deaths:
            window = Window.decode(window.encode(), overlap)
        found += poll(table, window, limit)
    for _ in range(len(moves) + 1):
        found += poll(table, window, limit)
    assert sorted(found) == sorted(table)


def test_rows_that_share_the_last_key_are_told_apart_without_an_overlap() -> None:
    table: list[Row] = [(1, "a"), (1, "a"), (1, "b")]
    window = Window()
    assert [poll(table, window, 1) for _ in range(4)] == [[(1, "a")], [(1, "a")], [(1, "b")], []]
    table.append((1, "a"))
    assert poll(table, window, 10) == [(1, "a")]
    table += [(0, "late"), (2, "c")]
    assert poll(table, window, 10) == [(2, "c")]
    assert window.seen == [((2,), digest_of((2, "c")))]


def test_a_key_that_differs_in_case_only_may_be_the_same_to_the_database() -> None:
    window = Window()
    window.take(("b",), "1")
    window.take(("B ",), "2")
    assert [digest for _, digest in window.seen] == ["1", "2"]


@pytest.mark.parametrize(
    "key", [(7,), (1.5, "x"), (Decimal("1.50"),), (NOON, 3), (NOON.date(),), (UUID(int=5),), (b"\xff",), ("ü",)]
)
def test_a_position_holds_every_kind_of_key(key: Key) -> None:
    window = Window()
    window.take(key, digest_of(key))
    again = Window.decode(window.encode(), Overlap())
    assert (again.last, again.seen) == (window.last, window.seen)


@pytest.mark.parametrize(
    ("overlap", "key", "low"),
    [
        (Overlap(HOUR), NOON, NOON - HOUR),
        (Overlap(steps=5), 7, 2),
        (Overlap(steps=5), Decimal(7), Decimal(2)),
    ],
)
def test_the_window_reaches_below_the_last_key(overlap: Overlap, key: object, low: object) -> None:
    window = Window(overlap)
    window.take((key,), "d")
    assert window.low == (low,)


@pytest.mark.parametrize(("overlap", "key"), [(Overlap(HOUR), 7), (Overlap(steps=1), NOON), (Overlap(HOUR), "2026")])
def test_an_overlap_that_does_not_fit_the_key_is_refused(overlap: Overlap, key: object) -> None:
    window = Window(overlap)
    window.take((key,), "d")
    with pytest.raises(DecodeError) as caught:
        _ = window.low
    assert caught.value.code == "MS-1704"


@pytest.mark.parametrize("key", [(True,), (None,), ([1],)])
def test_a_key_that_is_none_cannot_be_stored(key: Key) -> None:
    window = Window()
    window.take(key, "d")
    with pytest.raises(DecodeError) as caught:
        window.encode()
    assert caught.value.code == "MS-1704"


def test_the_window_is_bounded() -> None:
    window = Window()
    for i in range(SEEN_MAX):
        window.take((1,), str(i))
    with pytest.raises(DecodeError) as caught:
        window.take((1,), "one more")
    assert caught.value.code == "MS-1705"


def test_a_window_that_moves_on_forgets() -> None:
    window = Window(Overlap(steps=10))
    for i in range(3 * SEEN_MAX):
        window.take((i,), str(i))
    window.encode()
    assert [key for key, _ in window.seen] == [(i,) for i in range(3 * SEEN_MAX - 11, 3 * SEEN_MAX)]


@pytest.mark.parametrize("raw", [b"", b"7", b"{}", b'{"last":[["no",1]],"keys":[],"seen":[]}', b'{"last":1}'])
def test_a_position_of_something_else_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        Window.decode(raw, Overlap())
    assert caught.value.code == "MS-0307"


def test_a_digest_does_not_hang_on_the_zone_that_a_session_shows() -> None:
    elsewhere = NOON.astimezone(dt.timezone(HOUR))
    assert digest_of([NOON, b"a"]) == digest_of([elsewhere, memoryview(b"a")])
    assert digest_of([1]) != digest_of(["1"])
