"""The newest sample of each tag, against a plain dictionary of them."""

from __future__ import annotations

import sys
import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.historian._columns import to_columns
from millstream.historian._last import LastRow, LastValues
from millstream.historian._rows import Rows
from millstream.model import Value

VALUES: st.SearchStrategy[Value | None] = st.one_of(
    st.none(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=3), st.integers(-(2**70), 2**70)
)
COMMITS = st.lists(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3), VALUES), max_size=5), max_size=6)


def rows_of(samples: list[tuple[int, int, Value | None]]) -> Rows:
    columns = to_columns([value for _, _, value in samples])
    return Rows(
        np.array([tag for tag, _, _ in samples], np.uint32), np.array([time for _, time, _ in samples], np.int64),
        np.arange(len(samples)), np.array([time for _, time, _ in samples], np.uint32), columns.kind, columns.value,
        columns.whole, columns.text,
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(COMMITS)
def test_the_newest_of_each_tag_is_what_a_dictionary_of_them_has(
    commits: list[list[tuple[int, int, Value | None]]],
) -> None:
    last, expected = LastValues(), dict[int, LastRow]()
    for samples in commits:
        rows = rows_of(samples)
        last.add(rows)
        for place, (tag, time, _) in enumerate(samples):
            if tag not in expected or time >= expected[tag].time_ns:
                kind = int(rows.kind[place])
                number = float(rows.value[place]) if kind in (1, 2, 3) else None
                expected[tag] = LastRow(tag, time, kind, number, rows.whole.get(place), rows.text.get(place), time)
    assert {row.tag_id: row for row in last.rows()} == expected
    assert len(last) == len(expected)
    assert LastValues(last.rows()).rows() == last.rows(), "a checkpoint brings all of it back"
    asked = [9_999_999, *sorted(expected, reverse=True), 3001]
    assert last.arrow(asked).column("tag_id").to_pylist() == sorted(expected, reverse=True)


def test_an_answer_beside_a_commit_is_of_one_moment() -> None:
    last, stop, tags = LastValues(), threading.Event(), np.arange(2000, dtype=np.uint32)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            columns = to_columns(np.full(len(tags), float(number)))
            quality = np.full(len(tags), number, np.uint32)
            times = np.full(len(tags), number, np.int64)
            last.add(Rows(tags, times, np.arange(len(tags)), quality, columns.kind, columns.value, {}, {}))

    switched_s, writer = sys.getswitchinterval(), threading.Thread(target=write)
    sys.setswitchinterval(1e-6)
    writer.start()
    try:
        for _ in range(100):
            found = last.arrow(range(len(tags)))
            told = {*found.column("time_ns").to_pylist(), *map(int, found.column("value").to_pylist())}
            assert len(told | set(found.column("quality").to_pylist())) <= 1
    finally:
        stop.set()
        writer.join()
        sys.setswitchinterval(switched_s)
