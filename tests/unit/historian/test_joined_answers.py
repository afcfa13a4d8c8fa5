"""Answers for several kinds of data as one table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from history_kit import T0, TAGS, S, history, rows_of

from millstream.historian import Range, join_samples


@pytest.mark.parametrize(
    ("tag", "count", "values"),
    [
        ([1.5, 2.5], [7, 8], [1.5, 7.0, 2.5, 8.0]),
        ([1, 2], [7, 8], [1, 7, 2, 8]),
        ([1.5, 2.5], [2**53 + 1, 8], [1.5, 2**53 + 1, 2.5, 8]),
        (["on", "off"], [7, 8], ["on", 7, "off", 8]),
        (["on", 1], [True, False], ["on", True, 1, False]),
        ([None, b"\x00"], [7, 8], [None, 7, b"\x00", 8]),
    ],
)
def test_each_value_is_what_it_was_in_order_of_time(tag: list[Any], count: list[Any], values: list[Any]) -> None:
    with history() as filled:
        filled.add([S(TAGS[0], T0 + 2 * i, value) for i, value in enumerate(tag)])
        filled.add([S(TAGS[1], T0 + 2 * i + 1, value, kind="count") for i, value in enumerate(count)])
        tables = [filled.ask(Range(tags=(TAGS[0],))), filled.ask(Range(tags=(TAGS[1],), data_kind="count"))]
        joined = join_samples(tables, 10)
        assert [row["value"] for row in rows_of(joined)] == values
        assert [row["kind"] for row in rows_of(joined)] == ["tag", "count"] * 2
        assert b"truncated" not in joined.schema.metadata
        cut = join_samples(tables, 3, descending=True)
        assert [row["value"] for row in rows_of(cut)] == values[:0:-1]
        assert cut.schema.metadata[b"truncated"] == b"true"
        one = [filled.ask(Range(tags=(TAGS[0],), limit=1)), tables[1].slice(0, 0)]
        assert join_samples(one, 10).schema.metadata[b"truncated"] == b"true"


def test_of_nothing_there_is_an_empty_table() -> None:
    with history() as filled:
        tables = [filled.ask(Range(tags=(TAGS[0],))), filled.ask(Range(tags=("x*",), data_kind="count"))]
        joined = join_samples(tables, 10)
    assert (len(joined), joined.schema.field("value").type) == (0, pa.float64())
