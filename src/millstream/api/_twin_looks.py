"""Twins over HTTP: one, all below a place, and how one field changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millstream.api._desk import ActDesk, asked, place_of, tag_of
from millstream.api._parameters import parse_time_ns
from millstream.api._request import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._door import Actor


class TwinLooks:
    """The routes, behind a desk. Whoever is let in may look, below their paths."""

    def __init__(self, desk: ActDesk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        from starlette.routing import Route

        return [
            Route("/api/v1/twin", self._twin, methods=["GET"]),
            Route("/api/v1/twin/history", self._history, methods=["GET"]),
            Route("/api/v1/twins", self._twins, methods=["GET"]),
        ]

    async def _twin(self, request: Request) -> Response:
        actor, wanted = await self._desk.looking(request), request.query_params
        path, at = _asset_of(actor, wanted.get("path", "")), wanted.get("at")
        at_ns = None if at is None else parse_time_ns(at, self._desk.clock.now_ns())
        async with self._desk.plant(actor) as plant:
            return json_response(dict(await plant.twins.show(path, at_ns)))

    async def _history(self, request: Request) -> Response:
        actor, wanted = await self._desk.looking(request), request.query_params
        path, now_ns = _asset_of(actor, wanted.get("path", "")), self._desk.clock.now_ns()
        start_ns, end_ns = (
            parse_time_ns(wanted.get(name, default), now_ns) for name, default in (("start", "-1d"), ("end", "now"))
        )
        async with self._desk.plant(actor) as plant:
            rows = await plant.twins.history(path, wanted.get("field", ""), start=start_ns, end=end_ns)
        return json_response({"changes": list(rows)})

    async def _twins(self, request: Request) -> Response:
        actor, wanted = await self._desk.looking(request), request.query_params
        place, name = wanted.get("path"), wanted.get("name", "twin")
        places = list(actor.paths) if place is None else [str(place_of(actor, place))]
        async with self._desk.plant(actor) as plant:
            return json_response({"twins": list(await plant.twins.list(*places, name=name))})


def _asset_of(actor: Actor, text: str) -> str:
    """An asset, or the path of its twin, that lies where the person may. Raises DecodeError, AuthError."""
    return str(tag_of(actor, text) if ":" in text else place_of(actor, text))


TWIN_PATHS: dict[str, Any] = {
    "/api/v1/twin": asked("twin", "The twin of an asset, now or as it was at a time", "path", times=("at",)),
    "/api/v1/twin/history": asked(
        "twin_history", "Each change of one field of a twin", "path", "field", times=("start", "end")
    ),
    "/api/v1/twins": asked("twins", "All twins below a place, or below the paths of who asks",
                           optional=("path", "name")),
}  # fmt: skip
"""For the OpenAPI description."""
