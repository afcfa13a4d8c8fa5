"""Tables of context become facts, and what is wrong with them is told with file and line, all at once."""

from __future__ import annotations

import random
import sys

import pytest

from millstream.kernel import DecodeError
from millstream.shop import (
    ContextTables,
    Fact,
    OrderSpan,
    Row,
    fact_event,
    order_at,
    order_doubts,
    orders_at,
    put_order,
    read_order,
)

S = 10**9


def rows(name: str, *cells: dict[str, str]) -> list[Row]:
    return [Row(f"{name}s.csv", line, each) for line, each in enumerate(cells, 2)]


def tables(known: dict[str, float] | None = None, **given: list[Row]) -> tuple[list[Fact], list[str]]:
    found = ContextTables("acme/p1", given, known or {})
    return found.facts(), [f"{'doubt ' if p.is_doubt else ''}{p}" for p in found.problems]


def order(name: str, start: str, end: str = "", *, product: str = "M6", asset: str = "acme/p1/press") -> dict[str, str]:
    return {"order": name, "asset": asset, "product": product, "start": start, "end": end}


PRODUCTS = rows("product", {"product": "M6", "ideal_cycle_s": "1.5", "name": "bolt"})


def test_an_order_carries_the_ideal_cycle_of_its_product() -> None:
    facts, problems = tables(
        product=PRODUCTS, order=rows("order", order("4711", "2026-01-01T06:00:00+01:00", "2026-01-01T14:00:00+01:00"))
    )
    assert problems == []
    assert [fact.path for fact in facts] == ["acme/p1:product/M6", "acme/p1/press:order/4711"]
    assert facts[1].data == {
        "order": "4711", "product": "M6", "ideal_cycle_s": 1.5, "start": "2026-01-01T05:00:00Z",
        "end": "2026-01-01T13:00:00Z",
    }  # fmt: skip
    facts, problems = tables({"M8": 2.0}, order=rows("order", order("1", "2026-01-01T06:00:00Z", product="M8")))
    assert (facts[0].data["ideal_cycle_s"], problems) == (2.0, [])


def test_typed_templates_check_their_instances() -> None:
    _, problems = tables(
        template=rows("template", {"template": "press", "property": "force_kn", "type": "number", "required": "yes"}),
        asset=rows(
            "asset",
            {"path": "acme/p1/press", "level": "work_unit", "template": "press", "force_kn": "800"},
            {"path": "acme/p1/press2", "level": "work_unit", "template": "press", "force_kn": "strong"},
            {"path": "acme/p1/press3", "level": "work_unit", "template": "press"},
            {"path": "acme/p1/press4", "level": "gadget", "template": "lathe"},
            {"path": "acme//x", "level": "site"},
        ),
    )
    assert [p.partition(" ")[0] for p in problems] == [f"assets.csv:{n}:" for n in (3, 4, 5, 5, 6)]
    assert "force_kn is a number, got 'strong'" in problems[0]
    assert "template press needs force_kn" in problems[1]
    assert "no such template: 'lathe'" in problems[3]


@pytest.mark.parametrize(
    ("orders", "told"),
    [
        ([order("A", "2026-01-01T06:00:00Z", "2026-01-01T08:00:00Z"), order("B", "2026-01-01T07:00:00Z")],
         ["orders.csv:2: A and B overlap at acme/p1/press"]),
        ([order("A", "2026-01-01T06:00:00Z"), order("B", "2026-01-01T07:00:00Z")],
         ["doubt orders.csv:2: A has no end, and B begins behind it"]),
        ([order("A", "2026-01-01T06:00:00Z"), order("B", "2026-01-01T07:00:00Z", asset="acme/p1/lathe")], []),
        ([order("A", "2026-01-01T06:00:00")], ["orders.csv:2: start is a time with its zone, such as "
         "2026-01-31T06:00:00+01:00, got '2026-01-01T06:00:00'", "orders.csv:2: an order has a start"]),
        ([order("A", "2026-01-01T06:00:00Z", product="M9")], ["orders.csv:2: no such product: 'M9'"]),
        ([order("A", "2026-01-01T06:00:00Z", "2026-01-01T05:00:00Z")],
         ["orders.csv:2: an order ends behind its start"]),
        ([order("a/b", "2026-01-01T06:00:00Z")], ["orders.csv:2: order is 1 to 64 letters, digits, _, - and ., "
         "got 'a/b'"]),
    ],
)  # fmt: skip
def test_orders_that_cannot_be_are_refused_and_open_ones_are_a_doubt(
    orders: list[dict[str, str]], told: list[str]
) -> None:
    assert tables(product=PRODUCTS, order=rows("order", *orders))[1] == told


def test_reasons_form_a_tree() -> None:
    facts, problems = tables(
        reason=rows(
            "reason",
            {"reason": "mechanical", "kind": "unplanned"},
            {"reason": "bearing", "parent": "mechanical", "name": "bearing worn"},
            {"reason": "a", "parent": "b"},
            {"reason": "b", "parent": "a"},
            {"reason": "c", "parent": "nothing"},
        )
    )
    assert facts[1].data == {"name": "bearing worn", "parent": "mechanical"}
    assert problems == [
        "reasons.csv:4: a reason above itself: a < b < a", "reasons.csv:5: a reason above itself: b < a < b",
        "reasons.csv:6: no such parent: 'nothing'",
    ]  # fmt: skip


def test_relations_and_operators_stand_at_their_equipment() -> None:
    facts, problems = tables(
        relation=rows("relation", {"from": "acme/p1/saw", "relation": "feeds", "to": "acme/p1/press"}),
        operator=rows("operator", {"operator": "ada", "asset": "acme/p1/press", "start": "2026-01-01T06:00:00Z"}),
    )
    assert problems == []
    assert [fact.path for fact in facts] == [
        "acme/p1/saw:relation/feeds/acme.p1.press", "acme/p1/press:operator/ada/1767247200",
    ]  # fmt: skip
    subject, event = fact_event(facts[0], "ada", "1", 5)
    assert (subject.startswith("uns.v1.acme.p1.saw._context."), event.extensions) == (True, {"who": "ada"})
    with pytest.raises(DecodeError, match="sort of fact"):
        fact_event(Fact("acme:x", "thing", {}), "ada", "1", 5)


def test_the_order_that_ran_is_the_one_that_began_last_and_has_not_ended() -> None:
    orders: list[OrderSpan] = []
    assert put_order(orders, "A", OrderSpan(10, "A", 0, "M6", 1.0)) == (10, sys.maxsize)
    assert put_order(orders, "B", OrderSpan(30, "B", 40, "M8", 2.0)) == (10, sys.maxsize), "A ends where B begins"
    names = {t: found.name if (found := order_at(orders, t)) else None for t in (9, 10, 29, 30, 39, 40)}
    assert names == {9: None, 10: "A", 29: "A", 30: "B", 39: "B", 40: None}
    assert order_doubts(orders, 0, 50, 100) == ["order A has no end; it was taken to end where B begins"]
    assert put_order(orders, "A", OrderSpan(10, "A", 35, "M6", 1.0)) == (10, 30)
    assert order_doubts(orders, 0, 50, 100) == ["orders A and B overlap"]
    assert put_order(orders, "B", OrderSpan(30, "B", 40, "M8", 2.0)) is None, "nothing new"
    assert put_order(orders, "B", None) == (10, sys.maxsize)
    assert put_order(orders, "B", None) is None
    assert order_doubts([OrderSpan(10, "A")], 0, 200, 100) == ["order A has no end"]


@pytest.mark.parametrize("seed", range(20))
def test_the_orders_of_many_times_are_those_of_each_time(seed: int) -> None:
    rng, orders = random.Random(seed), list[OrderSpan]()
    for name in range(rng.randrange(6)):
        start = rng.randrange(50)
        put_order(orders, str(name), OrderSpan(start, str(name), rng.choice([0, start + 1 + rng.randrange(20)])))
    times = sorted(rng.choices(range(80), k=60))
    assert orders_at(orders, times) == [order_at(orders, each) for each in times]


@pytest.mark.parametrize("data", [5, {}, {"start": "2026-01-01T06:00:00Z"}, {"start": "x", "ideal_cycle_s": 1},
    {"start": "2026-01-01T06:00:00Z", "end": "2026-01-01T06:00:00Z", "ideal_cycle_s": 1}])  # fmt: skip
def test_what_is_no_order_is_refused(data: object) -> None:
    with pytest.raises((ValueError, DecodeError)):
        read_order("A", data)
