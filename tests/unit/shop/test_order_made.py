"""Totals of orders follow the newest revision of each window, within their bounds."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from millstream.kernel import DecodeError
from millstream.protocols.cloudevents import format_time
from millstream.shop import OrdersMade, add_window
from millstream.shop._order_made import ORDERS_MAX, WINDOWS_MAX

HOUR = 3600 * 10**9


def window(hour: int, revision: int, **made: tuple[float, float]) -> dict[str, Any]:
    orders = [{"order": name, "produced": p, "rejected": r} for name, (p, r) in made.items()]
    span = {"start": format_time(hour * HOUR), "end": format_time((hour + 1) * HOUR)}
    return {**span, "revision": revision, "orders": orders}


@pytest.mark.parametrize("seed", range(20))
def test_a_total_is_the_sum_of_the_newest_revisions_whatever_comes_in_which_order(seed: int) -> None:
    rng = random.Random(seed)
    told = [
        window(hour, revision, **{name: (rng.randrange(9) / 10, 0.0) for name in rng.sample("ABC", rng.randrange(4))})
        for hour in range(1, 6) for revision in range(3)
    ]  # fmt: skip
    arrivals = rng.choices(told, k=40) + told
    rng.shuffle(arrivals)
    kept = OrdersMade()
    for each in arrivals:
        add_window(kept, each)
        kept = msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=OrdersMade)  # as it is kept between steps
    newest = [each for each in told if each["revision"] == 2]
    for name in "ABC":
        expected = sum(o["produced"] for each in newest for o in each["orders"] if o["order"] == name)
        assert kept.orders[name].produced == pytest.approx(expected) if name in kept.orders else expected == 0


def test_a_window_that_says_nothing_new_changes_nothing() -> None:
    kept = OrdersMade()
    assert add_window(kept, window(1, 0, A=(5, 1))) == ["A"]
    assert add_window(kept, window(1, 0, A=(9, 1))) == [], "the same revision again"
    assert add_window(kept, window(1, 1, A=(5, 1))) == [], "a revision that is the same"
    assert add_window(kept, window(1, 2)) == ["A"], "it was another order"
    assert (kept.orders["A"].produced, kept.orders["A"].good, kept.orders["A"].revision) == (0, 0, 2)


def test_the_oldest_windows_and_orders_are_closed_when_there_are_too_many() -> None:
    kept = OrdersMade()
    for hour in range(1, WINDOWS_MAX + 3):
        add_window(kept, window(hour, 0, A=(1, 0)))
    assert len(kept.windows) == WINDOWS_MAX
    assert add_window(kept, window(1, 1, A=(9, 0))) == [], "it is closed"
    assert kept.orders["A"].produced == WINDOWS_MAX + 2
    for number in range(ORDERS_MAX):
        add_window(kept, window(1000 + number // 100, number + 1, **{f"n{number}": (1, 0)}))
    assert len(kept.orders) == ORDERS_MAX
    assert "A" not in kept.orders
    assert add_window(kept, window(WINDOWS_MAX + 2, 1, A=(9, 0))) == [], "its total is not known any more"
    assert len(msgspec.msgpack.encode(kept)) < 128 * 1024, "half of what the state of a key may be"


@pytest.mark.parametrize("broken", [{}, {"start": "x", "end": "y", "revision": 0}, window(1, 0) | {"orders": [3]}])
def test_what_is_no_window_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises((ValueError, DecodeError)):
        add_window(OrdersMade(), broken)
