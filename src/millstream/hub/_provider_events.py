"""What the servers of a hub with tenants announce: to the tenant whose account it concerns, and all to the provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from millstream.bus import RawConnection, ServerAlarm, StreamApi, ensure_stream
from millstream.hub._account_limits import AccountLimits
from millstream.hub._server_events import (
    PROVIDER_SHELF,
    STORED_FOR_PROVIDER,
    HeardEvents,
    ServerEventTeller,
    SystemEars,
    provider_events_stream,
)
from millstream.kernel import Clock
from millstream.protocols.server_advisory import ServerEvent
from millstream.sdk import Log
from millstream.trust import HubTenant


@dataclass(slots=True)
class ProviderEvents:
    """`listen` once, and `run` where the plants are. `tenant_of` gives whose an account is, `plant_of` who tells that
    tenant (None: its plant is not here). A hub of several boxes has `servers_count` of them, each of which hears."""

    provider: RawConnection
    system: RawConnection
    tenants: Callable[[], Mapping[str, HubTenant]]
    tenant_of: Callable[[str], str | None]
    plant_of: Callable[[str], Callable[[ServerEvent], None] | None]
    alarms: Callable[[], Sequence[ServerAlarm]]
    clock: Clock
    log: Log
    servers_count: int = 1
    _heard: HeardEvents = field(default_factory=HeardEvents)
    _teller: ServerEventTeller | None = None

    async def listen(self) -> None:
        """From here on nothing is missed."""
        await SystemEars(self.system, self._hear).listen()
        if self.servers_count > 1:
            self._heard.listen(self.provider, STORED_FOR_PROVIDER)

    async def prepare(self) -> None:
        """Make the provider's stream. Raises PlantError."""
        await ensure_stream(StreamApi(self.provider), provider_events_stream())

    async def run(self) -> None:
        """Store, and look at what nobody announces, until cancelled; after `prepare`."""
        teller = ServerEventTeller(
            self.provider, PROVIDER_SHELF, clock=self.clock, log=self.log, alarms=self.alarms, heard=self._heard
        )
        teller.listen()
        self._teller = teller
        limits = AccountLimits(self.system, self.tenants, self._hear, self.clock, servers_count=self.servers_count)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(teller.run(), name="told events")
                group.create_task(limits.run(), name="limits of accounts")
        finally:
            self._teller = None

    def tell(self, tenant: str | None, event: ServerEvent) -> None:
        """Of a tenant, or of none, to the provider."""
        told = replace(event, data=event.data if tenant is None else {**event.data, "tenant": tenant})
        if self._teller is not None:
            self._teller.keep(told)
        elif self.servers_count > 1:
            self._heard.add(told)  # until whoever leads has told it

    def _hear(self, account: str, event: ServerEvent) -> None:
        tenant = self.tenant_of(account) if account else None
        hear = self.plant_of(tenant) if tenant is not None else None
        if hear is not None:
            hear(event)  # which tells the provider
        else:
            self.tell(tenant, event)
