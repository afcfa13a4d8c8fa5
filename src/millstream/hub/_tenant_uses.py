"""What each tenant uses of what the operator gave it, for who runs the hub. Pure.

As `millstream tenant limits` names them, and by what the servers count: of disk what is stored, on each of the hub's
boxes; of subscriptions those of the one connection that has the most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from millstream.hub._account_limits import AccountUse, limits_of
from millstream.trust import BOOKS_BYTES, HubTenant


@dataclass(frozen=True, slots=True)
class Use:
    """Of one limit; `limit` None: there is none."""

    used: int
    limit: int | None


def uses_of(tenant: HubTenant, uses: Mapping[str, AccountUse]) -> dict[str, Use]:
    """By limit; connections and subscriptions count for plant and people each for itself, so those count that are
    nearer to it."""
    plant, people = (uses.get(public, AccountUse()) for public in (tenant.plant_public, tenant.people_public))
    limits = limits_of(tenant.plant_token)
    granted = limits.get("disk_bytes")
    boxes = 1 if granted is None else max(1, round(granted / (tenant.disk_bytes + BOOKS_BYTES)))
    return {
        "sites": Use(plant.sites, limits.get("sites")),
        "connections": Use(max(plant.connections, people.connections), limits.get("connections")),
        "disk_bytes": Use(plant.disk_bytes // boxes, tenant.disk_bytes),
        "subscriptions": Use(max(plant.subscriptions, people.subscriptions), limits.get("subscriptions")),
    }
