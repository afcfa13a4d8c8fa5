"""What was made for a production of Tryton: the quantities of its outputs, set in one transaction, and its end.

A total is set, not added, so to tell it twice is to tell it once. The write carries the time at which the production
that was read had last changed (`_timestamp`): a request that comes late, behind a newer one, is refused by Tryton.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from millstream.config import TrytonConfirm
from millstream.erp._systems import Confirmation, Refused, filled
from millstream.erp._work import Calls, tell_work

MODEL = "production"
_FIELDS = (
    "number", "state", "unit", "company", "company.currency", "product", "warehouse", "location", "outputs",
    "warehouse.production_output_location", "warehouse.storage_location", "warehouse.waste_locations", "_timestamp",
)  # fmt: skip
_MOVE_FIELDS = ("product", "unit", "quantity", "state", "to_location")
_NEXT: Mapping[str, str] = {"draft": "wait", "waiting": "assign_try", "assigned": "run"}
"""The button that brings a production one state further, towards running."""
_OPEN = ("draft", "staging", "assigned")  # states of a move that may still change


async def confirm_production(tryton: Calls, config: TrytonConfirm, told: Confirmation) -> str:
    """Set the time and the quantities, and close what is over; "known" where all stands so already. Raises Refused, and
    what a call raises."""
    number = str(filled(config.number, told.values))
    found = await _find(tryton, number)
    if config.start and found["state"] in _NEXT:
        found = await _started(tryton, found, number)
    if found["state"] == "done" and told.is_final and await _stands_closed(tryton, config, found, told):
        return "known"
    if found["state"] != "running":
        raise Refused(
            "the production does not run", where=f"production {number}", expected="running", got=found["state"],
            next_step="a total is set as soon as it runs; one that is done takes none" if found["state"] in _NEXT
            else "correct it in Tryton by hand; it is closed there",
        )  # fmt: skip
    hows = [await tell_work(tryton, config.work, number, told)] if config.work is not None else []
    if config.quantities:
        hows.append(await _set_quantities(tryton, config, found, told))
        if told.is_final:
            await tryton.call(f"model.{MODEL}.done", [found["id"]])
            hows.append("set")
    return "set" if "set" in hows else "known"


async def _stands_closed(
    tryton: Calls, config: TrytonConfirm, found: Mapping[str, Any], told: Confirmation
) -> bool:  # fmt: skip
    """Whether it was closed with just this: an answer that never came."""
    if not config.quantities:
        return config.work is not None and await tell_work(tryton, config.work, found["number"], told) == "known"
    moves = await tryton.call("model.stock.move.read", list(found["outputs"]), list(_MOVE_FIELDS))
    to_stock = _output_location(found)
    done = [move for move in moves if move["product"] == found["product"] and move["state"] == "done"]
    good = sum(move["quantity"] for move in done if move["to_location"] == to_stock)
    return bool(good == told.good and sum(move["quantity"] for move in done) - good == told.rejected)


async def _set_quantities(
    tryton: Calls, config: TrytonConfirm, found: Mapping[str, Any], told: Confirmation
) -> str:  # fmt: skip
    moves = await tryton.call("model.stock.move.read", list(found["outputs"]), list(_MOVE_FIELDS))
    scrap_to = await _scrap_location(tryton, config, found, told.rejected, moves)
    changes = [
        *_change(found, moves, _output_location(found), told.good),
        *_change(found, moves, scrap_to, told.rejected),
    ]
    if not changes:
        return "known"
    stamp = {"_timestamp": {f"{MODEL},{found['id']}": found["_timestamp"]}}
    await tryton.call(f"model.{MODEL}.write", [found["id"]], {"outputs": changes}, context=stamp)
    return "set"


async def _find(tryton: Calls, number: str) -> Mapping[str, Any]:
    rows = await tryton.call(f"model.{MODEL}.search_read", [["number", "=", number]], 0, 2, None, list(_FIELDS))
    if len(rows) != 1:
        raise Refused(
            "no production of this number" if not rows else "several productions of this number",
            where=f"production {number}", expected="one", got=str(len(rows)),
        )  # fmt: skip
    return dict(rows[0])


async def _started(tryton: Calls, found: Mapping[str, Any], number: str) -> Mapping[str, Any]:
    """Press its buttons until it runs. Each does nothing to a production that is further already."""
    for _ in _NEXT:
        button = _NEXT.get(found["state"])
        if button is None:
            break
        await tryton.call(f"model.{MODEL}.{button}", [found["id"]])
        before, found = found["state"], await _find(tryton, number)
        if found["state"] == before:
            raise Refused(
                "the production cannot be started", where=f"production {number}", got=f"it stays {before}",
                next_step="look whether its inputs are in stock",
            )  # fmt: skip
    return found


def _output_location(found: Mapping[str, Any]) -> int:
    warehouse = found["warehouse."]
    location = warehouse.get("production_output_location") or warehouse.get("storage_location")
    if location is None:
        raise Refused("the warehouse has no place for what is made", where=f"production {found['number']}")
    return int(location)


async def _scrap_location(
    tryton: Calls, config: TrytonConfirm, found: Mapping[str, Any], rejected: float, moves: Sequence[Mapping[str, Any]]
) -> int:
    """Where rejected parts go. With none to tell it need not be known."""
    if config.scrap_location is not None:
        name = config.scrap_location
        where = ["OR", ["code", "=", name], ["name", "=", name]]
        locations = await tryton.call("model.stock.location.search", where, 0, 2, None)
    else:
        locations = found["warehouse."].get("waste_locations") or []
    if len(locations) == 1 or (locations and config.scrap_location is None):
        return int(locations[0])
    if not rejected and all(move["to_location"] == _output_location(found) for move in moves):
        return 0
    raise Refused(
        "nobody has said where rejected parts go", where=f"production {found['number']}",
        expected="one waste location of the warehouse, or `scrap_location`", got=str(config.scrap_location),
    )  # fmt: skip


def _change(found: Mapping[str, Any], moves: Sequence[Mapping[str, Any]], to: int, quantity: float) -> list[list[Any]]:
    """What has to be done to the moves of the product to a location, so that they come to a quantity."""
    own = [m for m in moves if m["product"] == found["product"] and m["to_location"] == to and m["state"] in _OPEN]
    if any(move["unit"] != found["unit"] for move in own):
        raise Refused("an output is in another unit than the production", where=f"production {found['number']}")
    if sum(move["quantity"] for move in own) == quantity:
        return []
    if not own:
        new = {
            "product": found["product"], "unit": found["unit"], "quantity": quantity, "company": found["company"],
            "from_location": found["location"], "to_location": to, "unit_price": Decimal(0),
            "currency": found["company."]["currency"],
        }  # fmt: skip
        return [["create", [new]]]
    first, *others = own
    changes: list[list[Any]] = [["write", [first["id"]], {"quantity": quantity}]]
    if others:
        changes.append(["write", [move["id"] for move in others], {"quantity": 0.0}])
    return changes
