"""What people do from a page: alarms acknowledged and shelved, stops explained, figures asked why.

It goes the way of the command line, with the hub's own log-in to the plant: a durable command to the edge, with who,
when and why. The hub says who it is, never the page; who may is decided here, before anything is asked of the plant.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from millstream.api._browser import read_json
from millstream.api._parameters import parse_time_ns
from millstream.api._request import FORBIDDEN, json_response
from millstream.kernel import AuthError, Clock, DecodeError, NotFoundError
from millstream.model import AssetPath, TagPath
from millstream.protocols.alarm import Action
from millstream.shop import StopAction, pareto

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._door import Actor, Door
    from millstream.client import AlarmRow, Plant

Plants: TypeAlias = "Callable[[str | None], AbstractAsyncContextManager[Plant]]"
"""Opens the plant of a tenant (None: the only one) with the hub's own log-in."""
ACTING_ROLES = frozenset({"engineer", "commander"})
ACTS_COUNT_MAX = 8  # that are under way at once; more wait
OUTCOME_S_MAX = 5.0  # then an answer says that it is stored, and the edge takes it as soon as it can


class AlarmRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something is asked of an alarm. `shelf` is how long to shelve it, such as "2h"; `occurrence` the count of the
    alarm that its author saw; the same `id` counts once."""

    path: str
    action: Action
    why: str = ""
    shelf: str | None = None
    occurrence: int = 0
    id: str | None = None


class StopRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something is said of the stop of `path` (``acme/plant1/press:downtime``) in which `at` lies."""

    path: str
    action: StopAction
    at: str
    reason: str = ""
    category: str = ""
    why: str = ""
    id: str | None = None


def plants_of(data_dir: Path) -> Plants:
    """The plants of the hub with this folder. The link is made for each act: people are slow, and a link that nobody
    needs is one that can be stale."""

    def open_plant(tenant: str | None) -> AbstractAsyncContextManager[Plant]:
        from millstream.client import connect

        return connect(data_dir, tenant=tenant)

    return open_plant


class Acts:
    """The routes of what people do, behind a door."""

    def __init__(self, door: Door, plants: Plants, clock: Clock) -> None:
        self._door = door
        self._plants = plants
        self._clock = clock
        self._slots = asyncio.Semaphore(ACTS_COUNT_MAX)

    def routes(self) -> list[BaseRoute]:
        """Asking alarms, stops and figures."""
        from starlette.routing import Route

        return [
            Route("/api/v1/alarms/ask", self._ask_alarm, methods=["POST"]),
            Route("/api/v1/downtime", self._stops, methods=["GET"]),
            Route("/api/v1/downtime/ask", self._ask_stop, methods=["POST"]),
            Route("/api/v1/why", self._why, methods=["GET"]),
        ]

    async def _ask_alarm(self, request: Request) -> Response:
        actor = self._acting((await self._door.admit(request)).actor, "ask something of an alarm")
        wanted = await read_json(request, AlarmRequest)
        path, id = str(_tag_of(actor, wanted.path)), wanted.id or str(uuid.uuid4())
        async with self._slots, self._plants(actor.tenant) as plant:
            row = _only(await plant.alarms.list(path, is_all=True), path)
            seen = replace(row, note=msgspec.structs.replace(row.note, count=wanted.occurrence or row.note.count))
            await plant.alarms.ask(seen, wanted.action, who=actor.who, why=wanted.why, shelf=wanted.shelf, id=id)
            found = await plant.alarms.outcome(row, id, timeout_s=OUTCOME_S_MAX)
        return json_response({"id": id, "is_taken": found is not None, "alarm": found.as_dict() if found else None})

    async def _ask_stop(self, request: Request) -> Response:
        actor = self._acting((await self._door.admit(request)).actor, "say something of a stop")
        wanted = await read_json(request, StopRequest)
        path, id = str(_tag_of(actor, wanted.path)), wanted.id or str(uuid.uuid4())
        at_ns = parse_time_ns(wanted.at, self._clock.now_ns())
        async with self._slots, self._plants(actor.tenant) as plant:
            category = await plant.context.category_of(wanted.reason, wanted.category)
            await plant.downtime.ask(
                path, wanted.action, at_ns, reason=wanted.reason, category=category, why=wanted.why, who=actor.who,
                id=id,
            )  # fmt: skip
            found = await plant.downtime.outcome(path, id, timeout_s=OUTCOME_S_MAX)
        return json_response({"id": id, "is_taken": found is not None, "stop": found})

    async def _stops(self, request: Request) -> Response:
        actor, asked = (await self._door.admit(request)).actor, request.query_params
        place, now_ns = _place_of(actor, asked.get("path", "")), self._clock.now_ns()
        start_ns, end_ns = (
            parse_time_ns(asked.get(name, default), now_ns) for name, default in (("start", "-1d"), ("end", "now"))
        )
        async with self._slots, self._plants(actor.tenant) as plant:
            stops = await plant.downtime.list(str(place), start=start_ns, end=end_ns)
        return json_response({"stops": stops, "pareto": [asdict(row) for row in pareto(stops)]})

    async def _why(self, request: Request) -> Response:
        actor, asked = (await self._door.admit(request)).actor, request.query_params
        path = _tag_of(actor, asked.get("tag", ""))
        at_ns = parse_time_ns(asked.get("at", "now"), self._clock.now_ns())
        async with self._slots, self._plants(actor.tenant) as plant:
            return json_response(await plant.downtime.why(str(path), at_ns))

    def _acting(self, actor: Actor, what: str) -> Actor:
        """Raises AuthError for a role that only looks; it is told to the audit."""
        if actor.role not in ACTING_ROLES:
            actor.refused(what)
            raise AuthError(
                "this role may look only", where=what, expected=" or ".join(sorted(ACTING_ROLES)), got=actor.role,
                next_step="ask whoever gives out log-ins", code=FORBIDDEN,
            )  # fmt: skip
        return actor


def _tag_of(actor: Actor, text: str) -> TagPath:
    """One tag that lies where the person may. Raises DecodeError, AuthError."""
    tag = TagPath.parse(_without_star(text))
    _check_inside(actor, tag.asset, text)
    return tag


def _place_of(actor: Actor, text: str) -> AssetPath:
    """One place of the same kind. Raises DecodeError, AuthError."""
    place = AssetPath.parse(_without_star(text))
    _check_inside(actor, place, text)
    return place


def _without_star(text: str) -> str:
    """A name with a star in it would be a pattern to whoever reads the plant, and fit more than its place."""
    if "*" in text:
        raise DecodeError("one path, no pattern", where="path", got=text[:200], code="MS-0320")
    return text


def _check_inside(actor: Actor, place: AssetPath, text: str) -> None:
    if actor.paths and not any(AssetPath.parse(path).contains(place) for path in actor.paths):
        raise AuthError("not below your paths", expected=", ".join(actor.paths), got=text[:200], code=FORBIDDEN)


def _only(rows: Sequence[AlarmRow], path: str) -> AlarmRow:
    """Raises NotFoundError."""
    for row in rows:
        if row.path == path:
            return row
    raise NotFoundError("no such alarm was raised", got=path, next_step="look at the list again")


_TEXT = {"type": "string"}
_TIME = {"in": "query", "schema": _TEXT, "description": "RFC 3339, ns since 1970, now, or relative such as -8h"}
_ANSWERS = {
    "200": {"description": "the answer"}, "400": {"description": "the question cannot be read"},
    "401": {"description": "not logged in"}, "403": {"description": "another site asks, or the role or path may not"},
    "404": {"description": "nothing of this name"}, "409": {"description": "the alarm or stop does not allow this now"},
}  # fmt: skip


def _posted(name: str, about: str, form: type[msgspec.Struct]) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([form])
    body = components[form.__name__] if "$ref" in schema else schema
    content = {"application/json": {"schema": body}}
    return {"post": {
        "operationId": name, "summary": about, "responses": _ANSWERS,
        "requestBody": {"required": True, "content": content},
    }}  # fmt: skip


def _asked(name: str, about: str, first: str, *times: str) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [{"name": first, "in": "query", "required": True, "schema": _TEXT}]
    parameters += [{"name": time, **_TIME} for time in times]
    return {"get": {"operationId": name, "summary": about, "parameters": parameters, "responses": _ANSWERS}}


ACT_PATHS: dict[str, Any] = {
    "/api/v1/alarms/ask": _posted(
        "ask_alarm", "Acknowledge, shelve, comment: by a command to the alarm's edge (engineers)", AlarmRequest
    ),
    "/api/v1/downtime": _asked("downtime", "Stops of a place as put right, and a Pareto of their reasons", "path",
                               "start", "end"),
    "/api/v1/downtime/ask": _posted(
        "ask_stop", "Give a stop its reason, cut or join it: by a command to its edge (engineers)", StopRequest
    ),
    "/api/v1/why": _asked("why", "What a figure of OEE is made of", "tag", "at"),
}  # fmt: skip
"""For the OpenAPI description."""
