"""The time of an operation in Tryton: the duration of one cycle of a production's work, set and finished once.

The duration is set, not added. The write goes through the work and carries the time at which that work was last
changed, so a request that comes late, behind a newer one, is refused by Tryton; the buttons do nothing where they were
pressed already. A cycle that people have finished is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from millstream.erp._systems import Confirmation, Refused, filled

WORK, CYCLE = "production.work", "production.work.cycle"
SAME_S = 0.001  # Tryton keeps microseconds


class Calls(Protocol):
    """Calls to Tryton."""

    async def call(self, method: str, *params: Any, context: Mapping[str, Any] | None = None) -> Any:
        """See `TrytonServer.call`."""
        ...


async def tell_work(tryton: Calls, named: Mapping[str, str], number: str, told: Confirmation) -> str:
    """Set the time of the work that has these fields, and finish its cycle when the order is over; "known" where it
    stands so already. Raises Refused, and what a call raises."""
    work = await _find(tryton, filled(named, told.values), number)
    where = f"production {number}, work {work['rec_name']}"
    seconds = float(told.values.get("production_s", 0.0)) + float(told.values.get("setup_s", 0.0))
    cycles = await tryton.call(f"model.{CYCLE}.read", list(work["cycles"]), ["state", "duration"])
    under_way = [cycle for cycle in cycles if cycle["state"] in ("draft", "running")]
    over = [cycle for cycle in cycles if cycle["state"] == "done"]
    if len(under_way) > 1:
        raise Refused("several cycles of a work run", where=where, expected="one", got=str(len(under_way)))
    if not under_way and any(abs((cycle["duration"] or 0.0) - seconds) < SAME_S for cycle in over):
        return "known"
    if not under_way and over:
        raise Refused(
            "the cycle of the work is done, with another time", where=where, expected=f"{seconds:g} s",
            got=", ".join(f"{cycle['duration'] or 0:g} s" for cycle in over), next_step="correct it in Tryton by hand",
        )  # fmt: skip
    stands = bool(under_way) and abs((under_way[0]["duration"] or 0.0) - seconds) < SAME_S
    if not stands:
        await _set(tryton, work, under_way, seconds)
    cycle = under_way[0] if under_way else await _only(tryton, work["id"], where)
    if cycle["state"] == "draft":
        await tryton.call(f"model.{CYCLE}.run", [cycle["id"]])
    if told.is_final:
        await tryton.call(f"model.{CYCLE}.do", [cycle["id"]])
    return "known" if stands and not told.is_final and cycle["state"] == "running" else "set"


async def _find(tryton: Calls, fields: Mapping[str, Any], number: str) -> Mapping[str, Any]:
    domain = [["production.number", "=", number], *([name, "=", value] for name, value in fields.items())]
    rows = await tryton.call(
        f"model.{WORK}.search_read", domain, 0, 2, None, ["rec_name", "state", "cycles", "_timestamp"]
    )
    if len(rows) != 1:
        raise Refused(
            "no work of this production" if not rows else "several works of this production",
            where=f"production {number}", expected=f"one with {dict(fields)}", got=str(len(rows)),
        )  # fmt: skip
    return dict(rows[0])


async def _set(tryton: Calls, work: Mapping[str, Any], under_way: Sequence[Mapping[str, Any]], seconds: float) -> None:
    values = {"duration": {"__class__": "timedelta", "seconds": seconds}}
    change = ["write", [under_way[0]["id"]], values] if under_way else ["create", [values]]
    stamp = {"_timestamp": {f"{WORK},{work['id']}": work["_timestamp"]}}
    await tryton.call(f"model.{WORK}.write", [work["id"]], {"cycles": [change]}, context=stamp)


async def _only(tryton: Calls, work_id: int, where: str) -> Mapping[str, Any]:
    """The cycle that was made just now."""
    domain = [["work", "=", work_id], ["state", "in", ["draft", "running"]]]
    rows = await tryton.call(f"model.{CYCLE}.search_read", domain, 0, 2, None, ["state"])
    if len(rows) != 1:
        raise Refused("several cycles of a work run", where=where, expected="one", got=str(len(rows)))
    return dict(rows[0])
