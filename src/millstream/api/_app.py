"""The HTTP application: parse, ask the historian, render."""

from __future__ import annotations

import glob
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec

from millstream import __version__
from millstream.api._act_routes import ACT_PATHS, act_routes
from millstream.api._console import console_routes, docs_routes
from millstream.api._desk import ActDesk, Plants, whole_number
from millstream.api._door import Door, NodeStatus, View
from millstream.api._metrics import METRICS_TYPE, metrics_text
from millstream.api._openapi import openapi
from millstream.api._parameters import QUERIES, ROWS_MAX, flag, parse_queries
from millstream.api._refusals import plant_error
from millstream.api._render import choose_type, render
from millstream.api._request import COOKIE, json_response, read_body
from millstream.api._token_door import USUAL_ROLE, BrowserAccess, CurrentHistory, TokenDoor
from millstream.api._tree import OPEN_MAX, TAGS_MAX, part_of
from millstream.historian import EVENT_KINDS, SAMPLE_KINDS, Last, Query, Range, decode_query, join_samples
from millstream.kernel import Clock, ConfigError, DecodeError, NotFoundError, PlantError, SystemClock, needs_extra
from millstream.protocols.uns_payload import JSON_TYPE

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.historian import HistorianService, TagEntry

BODY_BYTES_MAX = 2**20  # of a posted query
TOKEN_LENGTH_MIN = 16
GAPS_MAX = 200  # of one origin, in one answer: the newest
_Handler = Callable[["View", "Request"], Awaitable["Response"]]


def create_app(
    historian: HistorianService | CurrentHistory,
    *,
    token: str,
    status: NodeStatus | None = None,
    clock: Clock | None = None,
    access: BrowserAccess | None = None,
    is_tls: bool = False,
    plants: Plants | None = None,
    role: str = USUAL_ROLE,
    site: str | None = None,
) -> Starlette:
    """The application on a running historian, or on whichever runs when it is asked; `site` is the edge that serves
    itself. `token` is what clients send as bearer token; `status` adds the node's own report to ``/api/v1/status``;
    `access` is how the console reaches the node's server, `plants` how people act on the plant, and `role` what those
    with the token may do. Raises ConfigError for a token that could be guessed, or when Starlette is missing."""
    if len(token) < TOKEN_LENGTH_MIN:
        raise ConfigError("API token is too short", expected=f"at least {TOKEN_LENGTH_MIN} characters")
    with needs_extra("the HTTP API", "api"):
        import starlette  # noqa: F401 (to say so before anything else does)
    clock = clock or SystemClock()
    door = TokenDoor(historian, token, status, clock, access=access, is_tls=is_tls, role=role, site=site)
    port = None if access is None else access.websocket_port
    acts = [] if plants is None else act_routes(ActDesk(door, plants, clock))
    description = ACT_PATHS if acts else None
    return application(door, clock, [*door.routes(), *acts, *console_routes(port)], description=description)


def application(
    door: Door, clock: Clock, routes: Sequence[BaseRoute] = (), *, description: Mapping[str, object] | None = None
) -> Starlette:
    """The application behind a door that says what each request may see; `routes` are served beside, and
    `description` is added to the paths of its OpenAPI."""
    return _Api(door, clock, dict(description or {})).app(routes)


class _Api:
    def __init__(self, door: Door, clock: Clock, description: dict[str, object]) -> None:
        self._door = door
        self._clock = clock
        self._description = description

    def app(self, beside: Sequence[BaseRoute]) -> Starlette:
        """Routes and error handling."""
        with needs_extra("the HTTP API", "api"):
            from starlette.applications import Starlette
            from starlette.exceptions import HTTPException
            from starlette.routing import Route
        routes: list[BaseRoute] = [Route(f"/api/v1/{kind}", self._asked(kind), methods=["GET"]) for kind in QUERIES]
        routes += [
            Route("/api/v1/query", self._guarded(self._post_query), methods=["POST"]),
            Route("/api/v1/tags", self._guarded(self._tags), methods=["GET"]),
            Route("/api/v1/tree", self._guarded(self._tree), methods=["GET"]),
            Route("/api/v1/ledger", self._guarded(self._ledger), methods=["GET"]),
            Route("/api/v1/status", self._guarded(self._node_status), methods=["GET"]),
            Route("/metrics", self._guarded(self._metrics), methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            *beside,
            *docs_routes(),
        ]
        return Starlette(routes=routes, exception_handlers={PlantError: plant_error, HTTPException: _http_error})

    def _guarded(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            """Raises AuthError, else hands on."""
            return await handler(await self._door.admit(request), request)

        return guarded

    def _asked(self, kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def asked(view: View, request: Request) -> Response:
            """The question in the query string."""
            queries = parse_queries(kind, request.query_params.multi_items(), self._clock.now_ns())
            return await self._answer(view, request, *queries)

        return self._guarded(asked)

    async def _post_query(self, view: View, request: Request) -> Response:
        body = await read_body(request, BODY_BYTES_MAX)
        query = decode_query(body)
        if getattr(query, "limit", 0) > ROWS_MAX:
            raise DecodeError("limit is out of range", where="limit", expected=f"at most {ROWS_MAX}", code="MS-0320")
        return await self._answer(view, request, query)

    async def _answer(self, view: View, request: Request, *queries: Query) -> Response:
        """Of one question, or of ranges of several kinds as one table."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        media_type = choose_type(request.headers.get("accept", ""), request.query_params.get("format"))
        tables = [await view.history.query(query) for query in queries]
        first = queries[0]
        if isinstance(first, Range) and len(tables) > 1:
            tables = [await run_in_threadpool(join_samples, tables, first.limit, descending=first.descending)]
        body = await run_in_threadpool(render, tables[0], media_type)
        return Response(body, media_type=media_type, headers={"Cache-Control": "no-store"})

    async def _tags(self, view: View, request: Request) -> Response:
        wanted = request.query_params
        kind = wanted.get("kind")
        if kind is not None and kind not in (*SAMPLE_KINDS, *EVENT_KINDS):
            raise DecodeError(
                "parameter is malformed", where="kind", expected=", ".join((*SAMPLE_KINDS, *EVENT_KINDS)), got=kind,
                code="MS-0320",
            )  # fmt: skip
        found = view.history.tags(wanted.get("pattern", "*"), kind)
        return json_response({"tags": [_shown(e) for e in found[:TAGS_MAX]], "truncated": len(found) > TAGS_MAX})

    async def _tree(self, view: View, request: Request) -> Response:
        """A part of the namespace, and the newest values of the tags in it when that is asked for."""
        wanted = request.query_params
        place, limit = wanted.get("place", ""), _whole(wanted, "limit", TAGS_MAX, TAGS_MAX)
        entries = view.history.tags("*" if not place else f"{glob.escape(place)}[/:]*", None)
        part = part_of(entries, place, open_count=_whole(wanted, "open", 0, OPEN_MAX), limit=limit)
        return json_response({
            "count": part.count, "places": part.places, "tags": [_shown(e) for e in part.tags],
            "last": await self._newest(view, part.tags) if _is_set(wanted, "values") else {},
        })  # fmt: skip

    async def _newest(self, view: View, tags: Sequence[TagEntry]) -> dict[str, msgspec.Raw]:
        """By kind, as ``/api/v1/last`` answers."""
        from starlette.concurrency import run_in_threadpool

        found: dict[str, msgspec.Raw] = {}
        kinds = {e.kind for e in tags}
        for kind in (one for one in SAMPLE_KINDS if one in kinds):
            names = tuple(glob.escape(e.path) for e in tags if e.kind == kind)
            table = await view.history.query(Last(tags=names, data_kind=kind))
            found[kind] = msgspec.Raw(await run_in_threadpool(render, table, JSON_TYPE))
        return found

    async def _ledger(self, view: View, request: Request) -> Response:
        accounts = view.ledger()
        return json_response({
            "origins": {
                o: {**asdict(a), "is_clean": a.is_clean, "missing": view.historian.missing(o, GAPS_MAX)}
                for o, a in sorted(accounts.items())
            }
        })  # fmt: skip

    async def _node_status(self, view: View, request: Request) -> Response:
        return json_response({"version": __version__, **await view.report()})

    async def _metrics(self, view: View, request: Request) -> Response:
        from starlette.responses import Response

        return Response(metrics_text(await view.stats()), media_type=METRICS_TYPE)

    async def _health(self, request: Request) -> Response:
        """Without a token, so it says nothing but yes or no."""
        is_healthy = self._door.is_healthy()
        return json_response({"is_healthy": is_healthy}, 200 if is_healthy else 503)

    async def _openapi(self, request: Request) -> Response:
        found = openapi(__version__)
        if self._description:
            found["paths"] |= self._description
            found["components"]["securitySchemes"]["session"] = {"type": "apiKey", "in": "cookie", "name": COOKIE}
            found["security"].append({"session": []})
        return json_response(found)


def _shown(entry: TagEntry) -> dict[str, object]:
    description = None if entry.description is None else msgspec.Raw(entry.description.encode())
    return {"tag": entry.path, "kind": entry.kind, "description": description}


def _whole(wanted: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A number of a query string. Raises DecodeError."""
    return whole_number(wanted.get(name, str(default)), name, most)


def _is_set(wanted: Mapping[str, str], name: str) -> bool:
    """A flag of a query string. Raises DecodeError."""
    try:
        return flag(wanted.get(name, "false"))
    except DecodeError as error:
        error.where = name
        raise


def _http_error(request: Request, error: Exception) -> Response:
    status_code = getattr(error, "status_code", 500)
    what = "no such page" if status_code == 404 else "method not allowed" if status_code == 405 else str(error)
    found = NotFoundError(what, got=f"{request.method} {request.url.path}", next_step="see /openapi.json")
    return json_response(found.as_dict(), status_code, getattr(error, "headers", None))
