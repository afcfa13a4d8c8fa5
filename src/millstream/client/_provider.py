"""A hub of tenants as who runs it sees it: what happened to its servers, and to whom, and the audit of none.

The provider's account has no history of its own: these are its streams, which keep the newest.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from millstream.bus._link import Link
from millstream.client._node import PROVIDER, NodeAddress
from millstream.client._provider_facts import site_facts
from millstream.client._streams import Streams
from millstream.client._times import Time, to_time_ns
from millstream.kernel import Clock, DecodeError, NotFoundError, PlantError, Unreachable
from millstream.protocols.cloudevents import CloudEvent, decode_event
from millstream.protocols.fleet_filter import PROVIDER_ROOTS, FleetFilter
from millstream.protocols.fleet_query import ALL, FleetMatch, FleetQuestion, FleetSummary, pick

EVENT_STREAMS = {"P_EVENTS": "event.>", "P_AUDIT": "audit.>"}
ASKED_AT_ONCE = 32
ASK_S = 2.0
ALARMS_COUNT_MAX = 16  # of one site
EVENTS_COUNT_MAX = 200_000  # of one look: more than both streams hold in a usual year


@dataclass(frozen=True, slots=True)
class TenantSite:
    """A site of a tenant, as its hub and the site itself say. `state` is "up" (it answered), "silent", or "unknown"
    (the tenant's plant did not answer); `reached_ns` when the hub last heard of it, UTC."""

    tenant: str
    name: str | None
    place: str | None
    state: str
    reached_ns: int | None = None
    version: str | None = None
    uplink: str | None = None
    behind_messages: int | None = None
    connectors: int | None = None
    alarms: tuple[str, ...] = ()


class _Told(NamedTuple):
    name: str
    place: str
    reached_ns: int | None
    status: Mapping[str, Any] | None


class Provider:
    """Of a plant that is asked as its provider. Made by `Plant.fleet`."""

    def __init__(self, link: Link, address: NodeAddress, clock: Clock) -> None:
        self._link = link
        self._streams = Streams(link)
        self._clock = clock
        self.is_asked = address.creds_file is not None and address.creds_file.stem == PROVIDER
        """Whether it is the provider who asks; no user has this name."""

    async def events(
        self, *, type: str | None = None, start: Time | None = None, end: Time = "now"
    ) -> AsyncGenerator[CloudEvent, None]:
        """As `Plant.events`: of all tenants (`tenant` in the data of those that concern one), and the audit of none."""
        if start is None:
            async for event in self._live():
                if _fits(event, type):
                    yield event
            return
        now_ns = self._clock.now_ns()
        for event in await self._stored(to_time_ns(start, now_ns), to_time_ns(end, now_ns)):
            if _fits(event, type):
                yield event

    async def sites(self, hub: str, *, tenants: Sequence[str] | None = None) -> list[TenantSite]:
        """All tenants' sites, asked by way of what each tenant exports to its provider: how hub and sites are, no
        value of theirs. `hub` is the hub's name. Raises Unreachable when the hub does not answer."""
        found: list[TenantSite] = []
        async for tenant, told in self._told(hub, tenants, ASK_S):
            if told is None:
                found.append(TenantSite(tenant, None, None, "unknown"))
            else:
                found += [_site(tenant, each.name, each.place, each.reached_ns, each.status) for each in told]
        return found

    async def hub(self, name: str, *, timeout_s: float = ASK_S) -> Mapping[str, Any]:
        """How the hub of this name and its tenants' plants are. Raises Unreachable."""
        status = await self._ask(f"millstream.node.{name}.status", timeout_s)
        if status is None:
            raise Unreachable("the hub does not answer", where=f"{self._link.url} {name}")
        return status

    async def matches(self, hub: str, question: FleetQuestion) -> AsyncGenerator[FleetMatch | FleetSummary, None]:
        """As `Fleet.query`: of the facts that statuses tell, judged here. Sites are called ``tenant/site``, and so may
        be those that are asked. Raises Unreachable when the hub does not answer."""
        filter = None if question.filter is None else FleetFilter.parse(question.filter, PROVIDER_ROOTS)
        named, begun_ns = question.nodes, self._clock.monotonic_ns()
        counts, missing = Counter[str](), dict[str, int | None]()
        kinds: dict[str, list[str]] = {"absent": [], "error": []}
        async for tenant, told in self._told(hub, None, question.deadline_s):
            if told is None and (named is None or any(each.startswith(f"{tenant}/") for each in named)):
                missing[f"{tenant}/{ALL}"] = None
            for each in told or ():
                name = f"{tenant}/{each.name}"
                if named is not None and name not in named and each.name not in named:
                    continue
                if each.status is None:
                    missing[name] = each.reached_ns
                    continue
                facts = site_facts(tenant, each.name, each.place, each.status, self._clock.now_ns())
                verdict = None if filter is None else filter.judge(facts)
                state = "match" if verdict is None else verdict.outcome
                counts[state] += 1
                kinds.setdefault(state, []).append(name)
                if state == "match":
                    yield FleetMatch(name, "match", pick(facts, question.select))
                elif state == "error" and verdict is not None:
                    yield FleetMatch(name, "error", None, verdict.reason, "MS-2206")
        answered, took_ms = counts.total(), (self._clock.monotonic_ns() - begun_ns) / 1e6
        absent, failed = kinds["absent"], kinds["error"]
        yield FleetSummary(
            answered + len(missing), answered, counts["match"], absent, failed, [], missing, [], took_ms
        )  # fmt: skip

    async def _told(
        self, hub: str, tenants: Sequence[str] | None, timeout_s: float
    ) -> AsyncGenerator[tuple[str, list[_Told] | None], None]:
        """Tenant by tenant its sites; None: its plant did not answer. Raises Unreachable when the hub does not."""
        status = await self.hub(hub, timeout_s=timeout_s)
        names = [str(tenant["name"]) for tenant in status.get("tenants") or ()]
        limit = asyncio.Semaphore(ASKED_AT_ONCE)

        async def bounded(tenant: str, edge: Mapping[str, Any]) -> _Told:
            name = str(edge.get("name"))
            async with limit:
                status = await self._ask(_of_tenant(tenant, name), timeout_s)
                return _Told(name, str(edge.get("path")), edge.get("reached_ns"), status)

        for tenant in names if tenants is None else [name for name in names if name in tenants]:
            plant = await self._ask(_of_tenant(tenant, hub), timeout_s)
            edges = [] if plant is None else [edge for edge in plant.get("edges") or () if isinstance(edge, dict)]
            told = await asyncio.gather(*(bounded(tenant, edge) for edge in edges))
            yield tenant, None if plant is None else list(told)

    async def _ask(self, subject: str, timeout_s: float) -> Mapping[str, Any] | None:
        """None while nobody answers; what a site says is a tenant's, so it may be anything."""
        try:
            raw = msgspec.json.decode((await self._link.request(subject, timeout_s=timeout_s)).payload)
        except (Unreachable, msgspec.DecodeError):
            return None
        return raw if isinstance(raw, dict) else None

    async def _live(self) -> AsyncGenerator[CloudEvent, None]:
        async with self._link.subscribe(list(EVENT_STREAMS.values())) as subscription:
            while True:
                for frame in await subscription.take():
                    if (event := _event(frame.headers, frame.payload)) is not None:
                        yield event

    async def _stored(self, start_ns: int, end_ns: int) -> list[CloudEvent]:
        """Oldest first. Raises NotFoundError, PlantError."""
        names = set(await self._streams.names())
        if "P_EVENTS" not in names:
            raise NotFoundError(
                "this hub keeps no events for its provider", where=self._link.url, expected="the stream P_EVENTS",
                next_step="run the hub with this version, or name a tenant with --tenant",
            )  # fmt: skip
        found: list[tuple[int, CloudEvent]] = []
        for name in EVENT_STREAMS:
            async with aclosing(self._streams.since(name, ">", start_ns)) as frames:
                async for frame in frames:
                    event = _event(frame.headers, frame.payload) if frame.time_ns < end_ns else None
                    if event is not None:
                        found.append((frame.time_ns, event))
                    if len(found) > EVENTS_COUNT_MAX:
                        raise PlantError(
                            "too many events", where=name, expected=f"at most {EVENTS_COUNT_MAX}",
                            next_step="let the look begin later",
                        )  # fmt: skip
        return [event for _, event in sorted(found, key=lambda each: each[0])]


def _of_tenant(tenant: str, node: str) -> str:
    return f"tenant.{tenant}.millstream.node.{node}.status"


def _site(
    tenant: str, name: str, place: str, reached_ns: int | None, status: Mapping[str, Any] | None
) -> TenantSite:  # fmt: skip
    if status is None:
        return TenantSite(tenant, name, place, "silent", reached_ns)
    uplink, alarms = status.get("uplink"), status.get("alarms")
    codes = [str(alarm.get("code"))[:16] for alarm in alarms or () if isinstance(alarm, dict)]
    uplink = uplink if isinstance(uplink, dict) else {}
    connectors, behind = status.get("connectors"), uplink.get("behind_messages")
    return TenantSite(
        tenant, name, place, "up", reached_ns, str(status.get("version"))[:64], str(uplink.get("state"))[:16],
        behind if isinstance(behind, int) else None, len(connectors) if isinstance(connectors, list) else None,
        tuple(codes[:ALARMS_COUNT_MAX]),
    )  # fmt: skip


def _fits(event: CloudEvent, type: str | None) -> bool:
    return type is None or event.type == type or (type.endswith("*") and event.type.startswith(type[:-1]))


def _event(headers: Mapping[str, str], payload: bytes) -> CloudEvent | None:
    try:
        return decode_event(headers, payload)
    except DecodeError:
        return None  # of another program, under the provider's subjects
