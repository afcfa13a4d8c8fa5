"""Which order a machine was working on, as far as somebody told, and what that means for its pace. Pure."""

from __future__ import annotations

import sys
from bisect import insort
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from millstream.protocols.cloudevents import parse_time_ns

ORDERS_MAX = 500  # of one machine within what can be corrected; the oldest go first


class OrderSpan(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One order at one machine, UTC ns; `end_ns` 0: nobody has told its end. `cycle_ns` is the ideal time of a part."""

    start_ns: int
    name: str
    end_ns: int = 0
    product: str = ""
    cycle_ns: float = 0.0


def read_order(name: str, data: Any) -> OrderSpan | None:
    """From the data of an order's fact; None: it was removed. Raises ValueError, DecodeError for what is none."""
    if not isinstance(data, Mapping):
        raise ValueError("an order is an object")
    if data.get("removed"):
        return None
    start_ns, end = parse_time_ns(str(data.get("start"))), data.get("end")
    end_ns = parse_time_ns(str(end)) if end else 0
    cycle_s = data.get("ideal_cycle_s")
    if not isinstance(cycle_s, int | float) or cycle_s <= 0 or (end_ns and end_ns <= start_ns):
        raise ValueError("an order has an ideal cycle, and ends behind its start")
    return OrderSpan(start_ns, name, end_ns, str(data.get("product", "")), cycle_s * 1e9)


def put_order(orders: list[OrderSpan], name: str, order: OrderSpan | None) -> tuple[int, int] | None:
    """Take what was told about an order, None to forget it. The time for which something else holds now: up to the next
    order, since the one before ends where this one begins, and from that one's beginning on, since its end is a
    doubt or none any more."""
    if order is not None and order in orders:
        return None
    touched = []
    for index in [n for n, each in enumerate(orders) if each.name == name][::-1]:
        touched.append(_around(orders, index))
        del orders[index]
    if order is not None:
        insort(orders, order)
        touched.append(_around(orders, orders.index(order)))
    del orders[: max(0, len(orders) - ORDERS_MAX)]
    return (min(start for start, _ in touched), max(end for _, end in touched)) if touched else None


def _around(orders: Sequence[OrderSpan], index: int) -> tuple[int, int]:
    end_ns = orders[index + 1].start_ns if index + 1 < len(orders) else sys.maxsize
    return orders[max(index - 1, 0)].start_ns, end_ns


def order_at(orders: Sequence[OrderSpan], time_ns: int) -> OrderSpan | None:
    """The one that began last and has not ended; an order ends at the latest where the next one begins."""
    for index in range(len(orders) - 1, -1, -1):
        if orders[index].start_ns <= time_ns:
            return orders[index] if time_ns < _until(orders, index) else None
    return None


def orders_at(orders: Sequence[OrderSpan], times_ns: Sequence[int]) -> list[OrderSpan | None]:
    """`order_at` of many times, which do not go back."""
    index, found = -1, list[OrderSpan | None]()
    for time_ns in times_ns:
        while index + 1 < len(orders) and orders[index + 1].start_ns <= time_ns:
            index += 1
        found.append(orders[index] if index >= 0 and time_ns < _until(orders, index) else None)
    return found


def order_spans(orders: Sequence[OrderSpan], start_ns: int, end_ns: int) -> list[tuple[OrderSpan, int, int]]:
    """The orders that ran in [start_ns, end_ns), each with its part of it."""
    found = []
    for index, order in enumerate(orders):
        begins, ends = max(order.start_ns, start_ns), min(_until(orders, index), end_ns)
        if begins < ends:
            found.append((order, begins, ends))
    return found


def order_doubts(orders: Sequence[OrderSpan], start_ns: int, end_ns: int, lasts_max_ns: int) -> list[str]:
    """What is not sure about the orders of this time."""
    found = []
    for index, order in enumerate(orders):
        after = orders[index + 1] if index + 1 < len(orders) else None
        if not (order.start_ns < end_ns and start_ns < _until(orders, index)):
            continue
        if after is not None and not order.end_ns:
            found.append(f"order {order.name} has no end; it was taken to end where {after.name} begins")
        elif after is not None and order.end_ns > after.start_ns:
            found.append(f"orders {order.name} and {after.name} overlap")
        elif after is None and not order.end_ns and end_ns - order.start_ns > lasts_max_ns:
            found.append(f"order {order.name} has no end")
    return found


def _until(orders: Sequence[OrderSpan], index: int) -> int:
    end_ns = orders[index].end_ns or sys.maxsize
    return min(end_ns, orders[index + 1].start_ns) if index + 1 < len(orders) else end_ns
