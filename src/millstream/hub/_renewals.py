"""New tokens for the sites of a tenant whose key for edges is another one: handed to those that are connected, before
the server hears of it and refuses the old ones.

A box keeps its own key, and the token is no secret: it is of use to who has that key. What happens if it is killed
here? The server is told when the hub starts again; a site that has its new token comes back with it as soon as the
server knows the key, and one that has none needs a new join file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from millstream.bus import RawConnection, StreamApi
from millstream.hub._registrar import PREFIX, STREAM, Joined
from millstream.kernel import Clock, PlantError, beside_one_another
from millstream.protocols.uplink_token import NewTokens, tokens_subject
from millstream.sdk import Log
from millstream.trust import HubTenant, edge_token

HAND_ON_S = 1.0  # so long a site may take: the old key opens the door until then
AT_ONCE = 64
SITES_TOLD_MAX = 500  # by name, in one event


class Tell(Protocol):
    """`Auditor.tell`."""

    def __call__(self, tenant: str, what: str, outcome: str, data: Mapping[str, object]) -> Awaitable[object]:
        """Store an audit event."""
        ...


class Renewed(NamedTuple):
    """The sites that have their new token, and those that have none."""

    renewed: list[str]
    left_out: list[str]


class EdgeKeys:
    """Notes which key signs for the edges of each tenant. `tenants` gives what the operator says now."""

    def __init__(self, tenants: Callable[[], Mapping[str, HubTenant]]) -> None:
        self._tenants = tenants
        self._looked_at = tenants()
        self._known = self._now()

    def _now(self) -> dict[str, str]:
        return {name: tenant.roles.get("edge", "") for name, tenant in self._tenants().items()}

    def take_changed(self) -> list[HubTenant]:
        """Those whose key is another one than at the last look."""
        tenants = self._tenants()
        if tenants is self._looked_at:  # each file of the operator is a new one
            return []
        self._looked_at = tenants
        before, self._known = self._known, self._now()
        return [self._tenants()[name] for name, seed in self._known.items() if before.get(name, seed) != seed]


async def renew_sites(
    connection: RawConnection | None, tenant: HubTenant, tell: Tell, clock: Clock, log: Log
) -> None:  # fmt: skip
    """Give each site its new token and tell the audit who has none. `connection` is the plant's; None at a member that
    has no plants: it waits, while the one that has them does this."""
    if connection is None:
        await clock.sleep(HAND_ON_S)
        return
    try:
        found = await _renew(connection, tenant, clock)
    except PlantError as error:
        log.warning("sites get no new tokens", tenant=tenant.name, error=str(error))
        found = Renewed([], sorted(tenant.sites))
    for outcome, sites in (("renewed", found.renewed), ("left_out", found.left_out)):
        if sites:
            await tell(tenant.name, "site", outcome, {"sites": sites[:SITES_TOLD_MAX], "sites_count": len(sites)})
    if found.left_out:
        log.warning("sites need a new join file", tenant=tenant.name, sites=", ".join(found.left_out[:20]))


async def _renew(connection: RawConnection, tenant: HubTenant, clock: Clock) -> Renewed:
    """Raises PlantError when it is not known who joined."""
    api, now_s = StreamApi(connection), clock.now_ns() // 10**9
    sites = {name: site for name, site in tenant.sites.items() if not site.is_revoked and site.tokens}

    async def one(name: str) -> str | None:
        """The name of a site that is renewed."""
        site, tokens = sites[name], []
        for bearer in site.tokens:
            found = await api.last(STREAM, f"{PREFIX}join.{bearer}")
            if found is not None:
                public = msgspec.json.decode(found.payload, type=Joined).public
                tokens.append(
                    edge_token(tenant.plant_public, tenant.roles["edge"], name, site.place, public, now_s)
                )  # fmt: skip
        if not tokens:
            return name  # nobody joined: there is nothing to renew
        try:
            payload = msgspec.json.encode(NewTokens(tuple(tokens)))
            answer = (await connection.request(tokens_subject(name), payload, timeout_s=HAND_ON_S))[4]
        except PlantError:  # it is away
            return None
        return name if b'"renewed"' in answer else None

    found = await beside_one_another(one, sorted(sites), at_once=AT_ONCE)
    renewed = [name for name in found if name is not None]
    return Renewed(renewed, [name for name in sorted(sites) if name not in renewed])
