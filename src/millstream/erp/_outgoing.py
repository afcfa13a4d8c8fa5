"""Totals of orders go out as confirmations, each revision of each order once.

What is to be confirmed exists exactly once, in the node's stream. The journal has what was begun, with all that it
said, before it goes out, and what was taken behind it. What was begun and has no end is told again as it was, with its
key, before anything newer; whether that counts once is up to how the system takes it (see `docs/how-to/erp.md`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millstream.config import ConfirmConfig
from millstream.erp._book import Book
from millstream.erp._systems import Confirmation, Refused, Sink
from millstream.kernel import Clock, PlantError
from millstream.protocols.cloudevents import parse_time_ns

if TYPE_CHECKING:
    from millstream.client import KnownFact, OrderTotal, Plant

KEPT_NS = 90 * 86_400 * 10**9  # so long it is known what was confirmed of an order of which nobody tells any more
Tell = Callable[[Mapping[str, Any]], None]
"""What happened, for people and logs."""
_COUNTS = ("good", "rejected", "produced")
_TIMES = ("production_s", "setup_s")


@dataclass(frozen=True, slots=True)
class Total:
    """What was made for one order at all machines together."""

    order: str
    counts: Mapping[str, float]
    revision: int
    until: str
    values: Mapping[str, Any]


def totals_of(told: Sequence[OrderTotal], known: Sequence[KnownFact], *, only_known: bool) -> list[Total]:
    """The totals by order: an order that ran at several machines is one for whoever gave it."""
    facts: dict[str, Mapping[str, Any]] = {}
    ends: dict[str, list[str | None]] = {}
    for known_order in known:
        if known_order.what == "order":
            name = known_order.path.rpartition("/")[2]
            facts[name] = known_order.data
            ends.setdefault(name, []).append(known_order.data.get("end"))
    groups: dict[str, list[OrderTotal]] = {}
    for each in told:
        if not only_known or each.order in facts:
            groups.setdefault(each.order, []).append(each)
    found = []
    for order, parts in sorted(groups.items()):
        counts = {name: sum(getattr(part, name) for part in parts) for name in (*_COUNTS, *_TIMES)}
        ended = [end for end in ends.get(order, [None]) if end is not None]
        fact = facts.get(order, {})
        until = max(part.until for part in parts)
        values = {
            "name": order, "order": fact.get("order", order), "operation": fact.get("operation", ""),
            "product": fact.get("product", ""), "quantity": fact.get("quantity"),
            "asset": ", ".join(sorted(part.asset for part in parts)), "until": until,
            "end": max(ended, key=parse_time_ns) if len(ended) == len(ends.get(order, [None])) else None,
        }  # fmt: skip
        found.append(Total(order, counts, sum(part.revision for part in parts), until, values))
    return found


class Outgoing:
    """One confirmation of the file."""

    def __init__(self, plant: Plant, config: ConfirmConfig, book: Book, clock: Clock, tell: Tell) -> None:
        self._plant, self._config, self._book, self._clock, self._tell = plant, config, book, clock, tell
        self._head = f"confirm/{config.name}/"
        self._compared = (*_COUNTS, *_TIMES) if config.tells_time else _COUNTS

    async def due(self) -> list[Confirmation]:
        """What is to be confirmed now: first what was begun, then what is newer than what was taken."""
        begun = [_read(entry["begun"]) for _, entry in self._book.items(self._head) if entry.get("begun")]
        waiting = {each.order for each in begun}
        totals = await self._totals()
        now_ns = self._clock.now_ns()
        fresh = [t for t in totals if t.order not in waiting and self._is_due(t, now_ns)]
        return [*begun, *(self._of(total, now_ns) for total in fresh)]

    async def send(self, sink: Sink, told: Confirmation) -> None:
        """Tell one confirmation, and remember how it ended. Raises what the sink raises but Refused."""
        before = self._book.get(self._head + told.order) or {}
        if before.get("begun") is None:
            await self._put(told.order, {**before, "begun": _written(told)})
        try:
            how = await sink.confirm(self._config, told)
        except Refused as error:
            refused = {"revision": told.revision, "time_ns": self._clock.now_ns(), "why": str(error)}
            # A refusal is an answer: nothing was taken, so what comes next may be another total.
            await self._put(told.order, {"taken": before.get("taken"), "refused": refused})
            self._tell({"confirm": self._config.name, "order": told.order, "state": "refused", **error.as_dict()})
            return
        counts = {name: told.values.get(name, 0.0) for name in (*_COUNTS, *_TIMES)}
        taken = {"revision": told.revision, "time_ns": self._clock.now_ns(), **counts, "is_final": told.is_final}
        await self._put(told.order, {"taken": taken})
        self._tell({
            "confirm": self._config.name, "order": told.order, "state": "confirmed", "how": how,
            "revision": told.revision, "good": told.good, "rejected": told.rejected,
            **({"is_final": True} if told.is_final else {}),
        })  # fmt: skip

    async def forget(self) -> None:
        """Let go what nobody tells of any more."""
        horizon_ns, named = self._clock.now_ns() - KEPT_NS, {total.order for total in await self._totals()}
        for order, entry in self._book.items(self._head):
            last = entry.get("taken") or entry.get("refused") or {}
            if order not in named and not entry.get("begun") and last.get("time_ns", 0) < horizon_ns:
                await self._put(order, None)

    async def _totals(self) -> list[Total]:
        told = await self._plant.context.orders_made(*self._config.reads)
        known = await self._plant.context.list(what="order")
        return totals_of(told, known, only_known=self._config.only_known)

    def _is_due(self, total: Total, now_ns: int) -> bool:
        entry = self._book.get(self._head + total.order) or {}
        taken, refused = entry.get("taken"), entry.get("refused")
        if taken is not None and total.revision < taken["revision"]:
            error = PlantError(
                "its totals began anew, so nothing is confirmed until they have caught up", where=total.order,
                expected=f"a revision above {taken['revision']}", got=str(total.revision), code="MS-2807",
                next_step="compare the order by hand; see docs/how-to/erp.md",
            )  # fmt: skip
            if refused is None or refused["revision"] != total.revision:
                self._book.put(
                    self._head + total.order,
                    {**entry, "refused": {"revision": total.revision, "time_ns": now_ns, "why": str(error)}},
                )
                self._tell({"confirm": self._config.name, "order": total.order, "state": "refused", **error.as_dict()})
            return False
        last = taken or {}
        is_to_close = self._closes(total, now_ns) and not last.get("is_final")
        if not is_to_close and all(last.get(name, 0.0) == total.counts[name] for name in self._compared):
            return False
        if refused is not None and refused["revision"] == total.revision:
            return bool(now_ns - refused["time_ns"] >= self._config.again * 1e9)
        return is_to_close or taken is None or total.revision > taken["revision"]

    def _closes(self, total: Total, now_ns: int) -> bool:
        """Whether the order is over, and its last parts are told as far as the file lets them come late."""
        close = self._config.tryton.close if self._config.tryton is not None else None
        if close is None:
            return False
        end, quantity, over_ns = total.values["end"], total.values["quantity"], parse_time_ns(total.until)
        if close.when == "ended":
            if end is None:
                return False
            over_ns = max(over_ns, parse_time_ns(end))
        elif not quantity or total.counts["good"] < quantity:
            return False
        return now_ns >= over_ns + round(close.after * 1e9)

    def _of(self, total: Total, now_ns: int) -> Confirmation:
        taken = (self._book.get(self._head + total.order) or {}).get("taken") or {}
        is_final = self._closes(total, now_ns)
        key = f"{self._config.name}/{total.order}/{total.revision}{'/final' if is_final else ''}"
        values = {
            **total.values, **total.counts, "revision": total.revision, "key": key,
            **{f"{name}_more": total.counts[name] - taken.get(name, 0.0) for name in total.counts},
        }  # fmt: skip
        good, rejected = total.counts["good"], total.counts["rejected"]
        return Confirmation(total.order, key, total.revision, good, rejected, values, is_final)

    async def _put(self, order: str, entry: Mapping[str, Any] | None) -> None:
        value = None if entry is None else {name: part for name, part in entry.items() if part is not None}
        await asyncio.to_thread(self._book.put, self._head + order, value)


def _written(told: Confirmation) -> dict[str, Any]:
    return {
        "order": told.order, "key": told.key, "revision": told.revision, "good": told.good, "rejected": told.rejected,
        "values": dict(told.values), "is_final": told.is_final,
    }  # fmt: skip


def _read(raw: Mapping[str, Any]) -> Confirmation:
    return Confirmation(**raw)
