"""What was made for each order, added up from windows that may be put right later. Pure.

A window tells what was made in it for which order, again with a higher revision when it is put right. The newest
revision takes the place of the one before it, so a total never counts anything twice, whatever comes again or late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from millstream.protocols.cloudevents import parse_time_ns

TYPE = "millstream.order_made"
ORDERS_MAX = 500  # of one machine; those that were told of longest ago go first
WINDOWS_MAX = 200  # that can still be put right; older ones stand
DIGITS = 9  # behind the point: sums of kilograms are no counts, and stay clean of the noise of binary fractions


class OrderMade(msgspec.Struct, array_like=True):
    """The total of one order: parts in all, rejected ones, up to when (UTC ns), and how often it was told; seconds that
    the machine produced and was set up for it."""

    produced: float = 0.0
    rejected: float = 0.0
    until_ns: int = 0
    revision: int = 0
    production_s: float = 0.0
    setup_s: float = 0.0

    @property
    def good(self) -> float:
        """Parts that were not rejected."""
        return self.produced - self.rejected


class _OrderIn(msgspec.Struct):
    produced: float
    rejected: float
    order: str | None = None
    production_s: float = 0.0
    setup_s: float = 0.0


class _Told(msgspec.Struct):
    start: str
    end: str
    revision: int
    orders: Sequence[_OrderIn] = ()


class _Window(msgspec.Struct, array_like=True):
    revision: int
    made: dict[str, tuple[float, float]]
    times: dict[str, tuple[float, float]] = {}

    def of(self, order: str) -> _Parts:
        """Parts in all, rejected ones, seconds of production and of set-up."""
        return (*self.made.get(order, (0.0, 0.0)), *self.times.get(order, (0.0, 0.0)))


_Parts = tuple[float, float, float, float]
_NOTHING: _Parts = (0.0, 0.0, 0.0, 0.0)


class OrdersMade(msgspec.Struct, array_like=True):
    """The orders of one machine: what windows that may change told, the totals, and up to where windows are closed."""

    windows: dict[str, _Window] = {}
    orders: dict[str, OrderMade] = {}
    closed_ns: int = 0


def add_window(kept: OrdersMade, data: Any) -> list[str]:
    """Take one window (the data of an event of `oee`); the orders whose total is another one now. Raises ValueError,
    DecodeError for what is none."""
    try:
        told = msgspec.convert(data, _Told)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a window of the flow oee: {error}") from error
    start_ns, end_ns = parse_time_ns(told.start), parse_time_ns(told.end)
    name, before = str(start_ns), kept.windows.get(str(start_ns))
    if start_ns <= kept.closed_ns or (before is not None and told.revision <= before.revision):
        return []
    made = {each.order: (each.produced, each.rejected) for each in told.orders if each.order}
    if not made and before is None:
        return []
    times = {each.order: (each.production_s, each.setup_s) for each in told.orders if each.order}
    window = kept.windows[name] = _Window(told.revision, made, times)
    touched = []
    for order in {**made, **(before.made if before is not None else {})}:
        was = before.of(order) if before is not None else _NOTHING
        now = window.of(order)
        is_forgotten = order not in kept.orders and was != _NOTHING  # what is left of it cannot be told any more
        if was != now and not is_forgotten:
            _change(kept, order, [n - w for n, w in zip(now, was, strict=True)], end_ns)
            touched.append(order)
    _bound(kept)
    return touched


def _change(kept: OrdersMade, order: str, more: Sequence[float], end_ns: int) -> None:
    total = kept.orders.pop(order, OrderMade())  # behind the others: it was told of last
    produced, rejected, production_s, setup_s = more
    kept.orders[order] = OrderMade(
        round(total.produced + produced, DIGITS), round(total.rejected + rejected, DIGITS),
        max(total.until_ns, end_ns), total.revision + 1,
        round(total.production_s + production_s, DIGITS), round(total.setup_s + setup_s, DIGITS),
    )  # fmt: skip


def _bound(kept: OrdersMade) -> None:
    for name in sorted(kept.windows, key=int)[: max(0, len(kept.windows) - WINDOWS_MAX)]:
        del kept.windows[name]
        kept.closed_ns = max(kept.closed_ns, int(name))
    for order in list(kept.orders)[: max(0, len(kept.orders) - ORDERS_MAX)]:
        del kept.orders[order]


def made_data(order: str, total: OrderMade, until: str) -> Mapping[str, Any]:
    """What an event tells of a total; `until` is its time as text."""
    return {
        "order": order, "produced": total.produced, "good": total.good, "rejected": total.rejected, "until": until,
        "revision": total.revision, "production_s": total.production_s, "setup_s": total.setup_s,
    }  # fmt: skip
