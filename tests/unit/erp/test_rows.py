"""Rows of systems become cells, and what cannot be taken is refused row by row."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from millstream.config import ReadConfig
from millstream.erp._rows import as_json, at, cells_of, fields_of, identity, is_removed, judge, leaf_of
from millstream.kernel import DecodeError

CELLS: dict[str, Any] = {
    "order": "no", "operation": "op", "asset": {"field": "machine.code", "names": {"10": "acme/p1/press"}},
    "product": "item", "start": {"field": "begin", "zone": "Europe/Berlin", "at": "06:00"},
    "end": {"field": "finish", "zone": "Europe/Berlin", "at": "24:00"},
}  # fmt: skip


def read(**more: Any) -> ReadConfig:
    given = {"name": "orders", "system": "erp", "what": "order", "cells": CELLS, "tryton": {"model": "production"}}
    return ReadConfig.model_validate({**given, **more})


def row(**more: Any) -> dict[str, Any]:
    return {"no": 4711, "machine": {"code": 10.0}, "item": "M6", "begin": "2026-07-01", **more}


def test_cells_come_from_fields_within_fields_and_times_get_their_zone() -> None:
    assert fields_of(read()) == ["begin", "finish", "item", "machine.code", "no", "op"]
    assert cells_of(read(), row(finish=date(2026, 7, 2))) == {
        "order": "4711", "asset": "acme/p1/press", "product": "M6", "start": "2026-07-01T04:00:00Z",
        "end": "2026-07-02T22:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "form", "time"),
    [
        ("/Date(1782885600000)/", "iso", "2026-07-01T06:00:00Z"),
        ("/Date(1782885600000+0120)/", "iso", "2026-07-01T06:00:00Z"),
        ("2026-07-01T08:00:00+02:00", "iso", "2026-07-01T06:00:00Z"),
        ("2026-07-01T08:00:00", "iso", "2026-07-01T06:00:00Z"),
        (datetime(2026, 7, 1, 6, tzinfo=UTC), "iso", "2026-07-01T06:00:00Z"),
        (1782885600, "s", "2026-07-01T06:00:00Z"),
        ("01.07.2026 08:00", "%d.%m.%Y %H:%M", "2026-07-01T06:00:00Z"),
    ],
)
def test_times_are_read_in_the_forms_that_systems_write(found: Any, form: str, time: str) -> None:
    cells = {**CELLS, "start": {"field": "begin", "zone": "Europe/Berlin", "form": form}}
    assert cells_of(read(cells=cells), row(begin=found))["start"] == time


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"machine": {"code": "11"}}, "asset: nobody has said what this is called here"),
        ({"machine": {"code": [1]}}, "asset: not a text, number or truth value"),
        ({"begin": "tomorrow"}, "start: "),
        ({"begin": "2026-13-01"}, "start: time cannot be read"),
    ],
)
def test_a_row_that_cannot_be_read_says_which_cell_and_why(more: dict[str, Any], says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        cells_of(read(), row(**more))


def test_defaults_and_fixed_values_fill_cells_and_empty_ones_are_left_out() -> None:
    cells = {"product": "code", "ideal_cycle_s": {"field": "cycle", "default": "2"}, "name": {"value": "bolt"}}
    config = read(what="product", cells=cells)
    assert cells_of(config, {"code": "M6", "cycle": None}) == {"product": "M6", "ideal_cycle_s": "2", "name": "bolt"}
    assert cells_of(config, {"code": "M6", "cycle": Decimal("1.50")})["ideal_cycle_s"] == "1.50"
    assert cells_of(config, {"code": "", "cycle": 1}) == {"ideal_cycle_s": "1", "name": "bolt"}


def test_a_field_is_a_name_a_path_with_dots_or_a_json_path() -> None:
    found = {"a": {"b": [{"c d": 5}]}, "x.y": 7}
    assert [at(found, f) for f in ("x.y", "a.b.c", "$.a.b[0]['c d']", "$.a.b[3]", "z")] == [7, None, 5, None, None]
    assert at([1, 2], "$[1]") == 2
    assert at(found, "$") == found


def test_rows_are_known_again_also_when_they_cannot_be_taken() -> None:
    assert identity(read(), row()) == "4711|"
    assert identity(read(), row(op="20", machine={"code": "11"})) == "4711|20"
    assert identity(read(), row(no=[1])) == "[1]|"
    assert leaf_of("order", {"order": "4711", "operation": "20"}) == "4711-20"
    assert as_json({"at": date(2026, 7, 1), "n": Decimal("1.5"), "m": 2}) == {"at": "2026-07-01", "n": "1.5", "m": 2}


def test_what_csv_refuses_is_refused_by_row_and_the_rest_is_taken() -> None:
    rows = {
        "a": {"order": "A", "asset": "acme/p1/press", "product": "M6", "start": "2026-07-01T06:00:00Z"},
        "b": {"order": "B", "asset": "acme/p1/press", "product": "M7", "start": "2026-07-01T06:00:00Z"},
        "c": {"order": "C D", "asset": "acme//press", "product": "M6"},
        "d": {"order": "D", "asset": "acme/p1/saw", "product": "M6", "start": "2026-07-01T06:00:00Z"},
    }
    facts, refused = judge(read(), "acme/p1", rows, {"M6": 1.5})
    assert [fact.path for fact in facts] == ["acme/p1/press:order/A", "acme/p1/saw:order/D"]
    assert sorted(refused) == ["b", "c"]
    assert refused["b"] == "no such product: 'M7'"


def test_orders_of_a_plan_that_overlap_are_taken() -> None:
    start, end = "2026-07-01T06:00:00Z", "2026-07-01T09:00:00Z"
    order = {"asset": "acme/p1/press", "product": "M6", "start": start, "end": end}
    facts, refused = judge(read(), "acme/p1", {n: {**order, "order": n} for n in "ab"}, {"M6": 1.5})
    assert (len(facts), refused) == (2, {})
    assert judge(read(), "acme/p1", {}, {}) == ([], {})


def test_a_row_can_say_that_it_is_no_more() -> None:
    config = read(removed={"field": "state", "values": ["cancelled", "4"]})
    assert [is_removed(config, {"state": s}) for s in ("cancelled", 4, "open")] == [True, True, False]
    assert not is_removed(read(), {"state": "cancelled"})
