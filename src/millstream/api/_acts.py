"""What people do from a page: alarms acknowledged and shelved, stops explained, figures asked why. Each is a durable
command to the edge, with who, when and why."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.api._browser import read_json
from millstream.api._desk import ActDesk, asked, place_of, posted, tag_of
from millstream.api._parameters import parse_time_ns
from millstream.api._request import json_response
from millstream.kernel import DecodeError, NotFoundError
from millstream.protocols.alarm import Action
from millstream.shop import StopAction, pareto, reject_pareto

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._door import Actor
    from millstream.client import AlarmRow, Listed

LEVELS_MAX = 12
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


class RejectRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something is said of the parts of `path` (``acme/plant1/press:quality``): so many of a time were scrap, rework or
    good after all; or, with `lot`, what somebody said is put right."""

    path: str
    count: float | None = None
    kind: str = ""
    start: str = "-1h"
    end: str = "now"
    reason: str = ""
    instead_of: str = ""
    why: str = ""
    lot: str | None = None
    id: str | None = None


class Acts:
    """The routes of what people do, behind a door."""

    def __init__(self, desk: ActDesk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """Asking alarms, stops and figures."""
        from starlette.routing import Route

        return [
            Route("/api/v1/alarms/ask", self._ask_alarm, methods=["POST"]),
            Route("/api/v1/downtime", self._stops, methods=["GET"]),
            Route("/api/v1/downtime/ask", self._ask_stop, methods=["POST"]),
            Route("/api/v1/quality", self._lots, methods=["GET"]),
            Route("/api/v1/quality/ask", self._ask_lot, methods=["POST"]),
            Route("/api/v1/oee", self._oee, methods=["GET"]),
            Route("/api/v1/why", self._why, methods=["GET"]),
        ]

    async def _ask_alarm(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "ask something of an alarm")
        wanted = await read_json(request, AlarmRequest)
        path, id = str(tag_of(actor, wanted.path)), wanted.id or str(uuid.uuid4())
        async with self._desk.plant(actor) as plant:
            row = _only(await plant.alarms.list(path, is_all=True), path)
            seen = replace(row, note=msgspec.structs.replace(row.note, count=wanted.occurrence or row.note.count))
            await plant.alarms.ask(seen, wanted.action, who=actor.who, why=wanted.why, shelf=wanted.shelf, id=id)
            found = await plant.alarms.outcome(row, id, timeout_s=OUTCOME_S_MAX)
        return json_response({"id": id, "is_taken": found is not None, "alarm": found.as_dict() if found else None})

    async def _ask_stop(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "say something of a stop")
        wanted = await read_json(request, StopRequest)
        path, id = str(tag_of(actor, wanted.path)), wanted.id or str(uuid.uuid4())
        at_ns = parse_time_ns(wanted.at, self._desk.clock.now_ns())
        async with self._desk.plant(actor) as plant:
            category = await plant.context.category_of(wanted.reason, wanted.category)
            await plant.downtime.ask(
                path, wanted.action, at_ns, reason=wanted.reason, category=category, why=wanted.why, who=actor.who,
                id=id,
            )  # fmt: skip
            found = await plant.downtime.outcome(path, id, timeout_s=OUTCOME_S_MAX)
        return json_response({"id": id, "is_taken": found is not None, "stop": found})

    async def _ask_lot(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "say something of parts")
        wanted = await read_json(request, RejectRequest)
        path, id, now_ns = str(tag_of(actor, wanted.path)), wanted.id or str(uuid.uuid4()), self._desk.clock.now_ns()
        start_ns, end_ns = parse_time_ns(wanted.start, now_ns), parse_time_ns(wanted.end, now_ns)
        async with self._desk.plant(actor) as plant:
            kind = await plant.context.reject_kind(wanted.reason, wanted.kind)
            if wanted.lot is not None:
                await plant.quality.correct(
                    path, wanted.lot, count=wanted.count, kind=wanted.kind, reason=wanted.reason, why=wanted.why,
                    who=actor.who, id=id,
                )  # fmt: skip
            else:
                await plant.quality.say(
                    path, wanted.count or 0.0, kind, start=start_ns, end=end_ns, reason=wanted.reason,
                    instead_of=wanted.instead_of, why=wanted.why, who=actor.who, id=id,
                )  # fmt: skip
            found = await plant.quality.outcome(path, id, timeout_s=OUTCOME_S_MAX)
        return json_response({"id": id, "is_taken": found is not None, "lot": found})

    async def _stops(self, request: Request) -> Response:
        actor, place, start_ns, end_ns = await self._looking(request)
        async with self._desk.plant(actor) as plant:
            found = await plant.downtime.listed(place, start=start_ns, end=end_ns)
        rows = [asdict(row) for row in pareto(found.rows)]
        return json_response({"stops": found.rows, "pareto": rows, **_whole(found)})

    async def _lots(self, request: Request) -> Response:
        actor, place, start_ns, end_ns = await self._looking(request)
        async with self._desk.plant(actor) as plant:
            found = await plant.quality.listed(place, start=start_ns, end=end_ns)
        rows = [asdict(row) for row in reject_pareto(found.rows)]
        return json_response({"rejects": found.rows, "pareto": rows, **_whole(found)})

    async def _oee(self, request: Request) -> Response:
        actor, place, start_ns, end_ns = await self._looking(request)
        levels = request.query_params.get("levels")
        if levels is not None and not (levels.isascii() and levels.isdigit() and 1 <= int(levels[:3]) <= LEVELS_MAX):
            raise DecodeError("not a number of levels", where="levels", expected=f"1 to {LEVELS_MAX}", got=levels[:40])
        async with self._desk.plant(actor) as plant:
            found = await plant.oee.total(
                place, start=start_ns, end=end_ns, levels=None if levels is None else int(levels)
            )
        return json_response(dict(found))

    async def _looking(self, request: Request) -> tuple[Actor, str, int, int]:
        """Who looks, at which place, and at which time."""
        actor, wanted = await self._desk.looking(request), request.query_params
        place, now_ns = place_of(actor, wanted.get("path", "")), self._desk.clock.now_ns()
        start_ns, end_ns = (
            parse_time_ns(wanted.get(name, default), now_ns) for name, default in (("start", "-1d"), ("end", "now"))
        )
        return actor, str(place), start_ns, end_ns

    async def _why(self, request: Request) -> Response:
        actor, wanted = await self._desk.looking(request), request.query_params
        path = tag_of(actor, wanted.get("tag", ""))
        at_ns = parse_time_ns(wanted.get("at", "now"), self._desk.clock.now_ns())
        async with self._desk.plant(actor) as plant:
            return json_response(await plant.downtime.why(str(path), at_ns))


def _whole(found: Listed) -> dict[str, str | None]:
    """Since when a list is whole (null: it is), and why it is not."""
    return {"since": found.since, "doubt": found.doubt or None}


def _only(rows: Sequence[AlarmRow], path: str) -> AlarmRow:
    """Raises NotFoundError."""
    for row in rows:
        if row.path == path:
            return row
    raise NotFoundError("no such alarm was raised", got=path, next_step="look at the list again")


ACT_PATHS: dict[str, Any] = {
    "/api/v1/alarms/ask": posted(
        "ask_alarm", "Acknowledge, shelve, comment: by a command to the alarm's edge (engineers)", AlarmRequest
    ),
    "/api/v1/downtime": asked("downtime", "Stops of a place as put right, and a Pareto of their reasons", "path",
                              times=("start", "end")),
    "/api/v1/downtime/ask": posted(
        "ask_stop", "Give a stop its reason, cut or join it: by a command to its edge (engineers)", StopRequest
    ),
    "/api/v1/quality": asked("quality", "Scrap and rework of a place as put right, and a Pareto of their reasons",
                             "path", times=("start", "end")),
    "/api/v1/quality/ask": posted(
        "ask_parts", "Say which parts were no good, or put that right: by a command to their edge (engineers)",
        RejectRequest,
    ),
    "/api/v1/oee": asked("oee", "OEE of a place and of each machine below it, over any time", "path",
                         optional=("levels",), times=("start", "end")),
    "/api/v1/why": asked("why", "What a figure of OEE is made of", "tag", times=("at",)),
}  # fmt: skip
"""For the OpenAPI description."""
