"""What who runs a hub of tenants sees over HTTP: how all of them are, by what they export, and nothing of their data.

People of the provider are let in here and nowhere else: the door refuses them where a tenant is looked at. They get no
NATS credentials, because in their account lie the records of who logs in, and an answer of JetStream can be aimed at
them (ADR 8, 11); the hub asks for them. What only the operator's keys can do, no answer here does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.api._browser import read_json
from millstream.api._command_acts import DEADLINE_S_MAX, QueryRequest
from millstream.api._desk import Plants, asked, posted
from millstream.api._parameters import parse_time_ns
from millstream.api._request import FORBIDDEN, address_of, json_response
from millstream.kernel import AuthError, Clock, DecodeError
from millstream.login import PROVIDER
from millstream.protocols.cloudevents import CloudEvent

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._sessions import SessionDoor
    from millstream.client import Plant
    from millstream.hub import Tenants
    from millstream.login import LoginDesk

LOOK_KEPT_S = 5.0  # however many pages look, all sites are asked once in that time
LOOKS_APART, LOOK_KEPT_S_MAX = 10, 60.0  # times what a look took: many sites are asked more rarely
QUESTIONS_AT_ONCE_MAX = 4  # more wait
EVENTS_COUNT_MAX = 1000  # of one answer: the newest
SERVERS = "millstream.server."
OF_PEOPLE = ("millstream.audit.session.", "millstream.audit.login_user.")
OF_OPERATOR = ("millstream.audit.operator.", "millstream.audit.trust.")


@dataclass(slots=True)
class Look:
    """One look for all who ask within a few seconds."""

    clock: Clock
    load: Callable[[], Awaitable[dict[str, Any]]]
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _found: dict[str, Any] | None = None
    _until_ns: int = 0

    async def get(self) -> dict[str, Any]:
        """What was found, with when. Raises PlantError."""
        async with self._lock:
            begun_ns = self.clock.monotonic_ns()
            if self._found is None or begun_ns > self._until_ns:
                self._found = {**await self.load(), "time_ns": self.clock.now_ns()}
                took_s = (self.clock.monotonic_ns() - begun_ns) / 1e9
                kept_s = min(max(LOOK_KEPT_S, took_s * LOOKS_APART), LOOK_KEPT_S_MAX)
                self._until_ns = self.clock.monotonic_ns() + int(kept_s * 1e9)
            return self._found


class ProviderDesk:
    """The routes."""

    def __init__(self, door: SessionDoor, tenants: Tenants, desk: LoginDesk, plants: Plants, clock: Clock) -> None:
        self._door = door
        self._tenants = tenants
        self._desk = desk
        self._plants = plants
        self._clock = clock
        self._slots = asyncio.Semaphore(QUESTIONS_AT_ONCE_MAX)
        self._tenants_look = Look(clock, self._look_at_tenants)
        self._sites_look = Look(clock, self._look_at_sites)

    def routes(self) -> list[BaseRoute]:
        """Look, and ask."""
        from starlette.routing import Route

        return [
            Route("/api/v1/provider/tenants", self._show_tenants, methods=["GET"]),
            Route("/api/v1/provider/sites", self._show_sites, methods=["GET"]),
            Route("/api/v1/provider/query", self._query, methods=["POST"]),
            Route("/api/v1/provider/events", self._events, methods=["GET"]),
        ]

    async def _show_tenants(self, request: Request) -> Response:
        self._check(request, "see the list of tenants")
        return json_response(await self._tenants_look.get())

    async def _show_sites(self, request: Request) -> Response:
        self._check(request, "see the sites of all tenants")
        return json_response(await self._sites_look.get())

    async def _query(self, request: Request) -> Response:
        self._check(request, "ask the sites of all tenants")
        wanted = await read_json(request, QueryRequest)
        if not 0 < wanted.deadline_s <= DEADLINE_S_MAX:
            raise DecodeError(
                "not a deadline", where="deadline_s", expected=f"up to {DEADLINE_S_MAX:g}", code="MS-2125"
            )
        async with self._plant() as plant:
            run = plant.fleet.query(wanted.filter, select=wanted.select, nodes=wanted.nodes, deadline=wanted.deadline_s)
            found = await run.all()
        return json_response({
            "nodes": msgspec.to_builtins(found.nodes), "summary": msgspec.to_builtins(found.summary),
        })  # fmt: skip

    async def _events(self, request: Request) -> Response:
        """The newest of a time, the newest first."""
        self._check(request, "see what happened at the servers")
        wanted, now_ns = request.query_params, self._clock.now_ns()
        start, end = (
            parse_time_ns(wanted.get(name, usual), now_ns) for name, usual in (("start", "-1d"), ("end", "now"))
        )
        newest: deque[CloudEvent] = deque(maxlen=EVENTS_COUNT_MAX)
        async with (
            self._plant() as plant,
            aclosing(plant.fleet.provider.events(type=wanted.get("type"), start=start, end=end)) as events,
        ):
            async for event in events:
                if is_for_provider(event):
                    newest.appendleft(event)
        return json_response({"events": [
            {"id": one.id, "time_ns": one.time_ns, "type": one.type, "source": one.source, "data": one.data}
            for one in newest
        ]})  # fmt: skip

    def _check(self, request: Request, what: str) -> None:
        """Raises AuthError for everybody who is not of the provider; their tenant's audit hears of it."""
        me = self._door.session_of(request)
        if me.tenant != PROVIDER:
            self._desk.note_refused(me, what, address_of(request))
            raise AuthError(
                "this is for who runs the hub", where=what, expected=f"a log-in of {PROVIDER}", got=me.tenant,
                next_step="log in as somebody whom `millstream login add NAME --tenant provider` made", code=FORBIDDEN,
            )  # fmt: skip

    @asynccontextmanager
    async def _plant(self) -> AsyncIterator[Plant]:
        async with self._slots, self._plants(PROVIDER) as plant:
            yield plant

    async def _look_at_tenants(self) -> dict[str, Any]:
        """What the leading box says of them, what the servers count, and what the operator's file has."""
        async with self._plant() as plant:
            _, name = await plant.fleet.whom()
            hub = await plant.fleet.provider.hub(name)
        uses, told = await self._tenants.uses(), {str(one["name"]): one for one in hub.get("tenants") or ()}
        trust = self._tenants.trust
        return {
            "hub": {"name": name, "version": hub.get("version"), "alarms": hub.get("alarms") or []},
            "operator": trust.operator_public, "trust_serial": trust.serial,
            "tenants": [
                {
                    "name": name, "place": tenant.place, "since_s": tenant.created_s or None,
                    **told_of(told.get(name)),
                    "sites": len(tenant.sites), "sites_locked_out": sum(s.is_revoked for s in tenant.sites.values()),
                    "uses": {limit: asdict(use) for limit, use in uses.get(name, {}).items()},
                }
                for name, tenant in sorted(trust.tenants.items())
            ],
        }  # fmt: skip

    async def _look_at_sites(self) -> dict[str, Any]:
        async with self._plant() as plant:
            _, name = await plant.fleet.whom()
            return {"sites": [asdict(site) for site in await plant.fleet.provider.sites(name)]}


def is_for_provider(event: CloudEvent) -> bool:
    """What happened at the servers; of the audit what concerns the provider's own people, and acts of the operator that
    are no tenant's. What a tenant's audit could not take lies in the same stream, and stays there."""
    tenant = event.data.get("tenant") if isinstance(event.data, dict) else None
    if event.type.startswith(OF_PEOPLE):
        return tenant == PROVIDER
    return event.type.startswith(SERVERS) or (event.type.startswith(OF_OPERATOR) and tenant in ("", None))


def told_of(one: Mapping[str, Any] | None) -> dict[str, Any]:
    """Whether a tenant's plant is up, and the codes of its alarms: their texts may hold what is the tenant's."""
    alarms = one.get("alarms") or () if one is not None else ()
    return {
        "state": "unknown" if one is None else "up" if one.get("is_up") else "down",
        "alarms": [str(alarm.get("code")) for alarm in alarms],
    }


PROVIDER_PATHS: dict[str, Any] = {
    "/api/v1/provider/tenants": asked("tenants", "The tenants, with what they use of their limits (provider)"),
    "/api/v1/provider/sites": asked("sites_of_tenants", "How the sites of all tenants are, no value (provider)"),
    "/api/v1/provider/query": posted(
        "query_of_tenants", "Ask what the sites of all tenants tell of themselves (provider)", QueryRequest
    ),
    "/api/v1/provider/events": asked(
        "events_of_provider",
        "What happened at the servers, and with the provider's own people (provider)",
        optional=("type",),
        times=("start", "end"),
    ),
}
"""For the OpenAPI description."""
