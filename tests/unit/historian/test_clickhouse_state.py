"""What counts in a history in ClickHouse, without a server."""

from __future__ import annotations

import random

import pytest

from millstream.historian._clickhouse_link import identifier, quoted
from millstream.historian._clickhouse_state import WRITER_BITS, State, StateRow, Void
from millstream.historian._dialect_clickhouse import render_asof, render_window
from millstream.historian._dialect_duckdb import Chosen
from millstream.historian._query import AsOf, Window
from millstream.historian._rows import join_rows
from millstream.historian._store import Commit, HistoryStoreError, Position


class Table:
    """The table `state`, and `n` of each row that any writer inserted."""

    def __init__(self) -> None:
        self.rows: dict[int, list[StateRow]] = {}
        self.arrived: list[int] = []

    def take_over(self) -> State:
        before = max(self.rows, default=0)
        newest: dict[tuple[str, str, str, int], StateRow] = {}
        for row in self.rows.get(before, []):
            key = (row.kind, row.name, row.part, row.number)
            if key not in newest or newest[key].n <= row.n:
                newest[key] = row
        state, copied = State.taken_over(before + 1, before, list(newest.values()), before)
        self.rows[state.writer] = copied
        return state


def counts(state: State, n: int) -> bool:
    """As `seen` says it."""
    return n < state.order and not any(void.first <= n < void.end for void in state.voids)


def batch(seq: int) -> Commit:
    return Commit(Position("H", 1, seq, seq), seq - 1, join_rows([]), ledger={"o": b"%d" % seq}, counts={"messages": 1})


@pytest.mark.parametrize("seed", range(50))
def test_whatever_arrives_late_each_message_counts_once(seed: int) -> None:
    """Writers die between rows and commit, before and after their answer; what they sent arrives when others write."""
    chance, table = random.Random(seed), Table()
    state, late = table.take_over(), []
    seq, stored = 0, {}
    for _ in range(120):
        end = state.order + 1
        after, rows = state.after(batch(seq + 1), end)
        how = chance.choice(("done", "done", "done", "rows", "answer", "late"))
        table.arrived.append(state.order)
        if how in ("done", "answer"):
            table.rows[state.writer] += rows
        if how == "done":
            stored[state.order] = seq + 1
            state, seq = after, seq + 1
            continue
        if how == "answer":  # committed, and nobody was told
            stored[state.order] = seq + 1
        if how == "late":
            late.append((state.writer, state.order, rows))
        state = table.take_over()
        seq = state.positions.get(("H", 1), Position("H", 1, 0)).last_seq
        if late and chance.random() < 0.7:
            writer, n, rows = late.pop()
            table.arrived.append(n)
            table.rows[writer] += rows
    assert seq > 20
    assert {n for n in table.arrived if counts(state, n)} == set(stored)
    assert sorted(stored.values()) == list(range(1, seq + 1))
    assert state.counters == {"messages": seq}
    assert [row.data for row in table.rows[state.writer] if row.kind == "ledger"][-1] == b"%d" % seq


def test_writers_that_stored_nothing_leave_one_void() -> None:
    table = Table()
    for _ in range(5):
        state = table.take_over()
    assert state.voids == [Void(1 << WRITER_BITS, 5 << WRITER_BITS, 4)]
    state, rows = state.without(state.voids[0])
    table.rows[state.writer] += rows
    assert table.take_over().voids == [Void(state.order, 6 << WRITER_BITS, 5)]
    assert not State(1, (2 << WRITER_BITS) - 5).has_room(5)


def test_text_cannot_leave_its_place() -> None:
    assert quoted("a'\\\x00\nü") == "'a\\x27\\x5c\\x00\\x0a\\xc3\\xbc'"
    assert identifier("a`b\\c") == "`a\\`b\\\\c`"


def test_windows_longer_than_all_times_are_refused() -> None:
    for every, start in ((2**63, 0), (2**40, -(2**63) + 1), (2**70, -1)):
        asked = Window(tags=("a",), start_ns=start, end_ns=start + 5, every_ns=every)
        if every == 2**40:
            assert "intDiv" in render_window(asked, Chosen([1]), "1")
        else:
            with pytest.raises(HistoryStoreError, match="longer than all times"):
                render_window(asked, Chosen([1]), "1")
    assert "numbers(1)" in render_asof(AsOf(tags=("a",), start_ns=0, end_ns=5, every_ns=2**70), Chosen([1]), "1")
