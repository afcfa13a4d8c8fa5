"""The HTTP application: parse, ask the historian, render."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from millstream import __version__
from millstream.api._metrics import METRICS_TYPE, metrics_text
from millstream.api._openapi import openapi
from millstream.api._parameters import QUERIES, ROWS_MAX, parse_query
from millstream.api._render import choose_type, render
from millstream.historian import EVENT_KINDS, SAMPLE_KINDS, HistorianService, Query, decode_query
from millstream.kernel import (
    AuthError,
    Clock,
    ConfigError,
    DecodeError,
    NotFoundError,
    PlantError,
    SystemClock,
    needs_extra,
)
from millstream.protocols.uns_payload import JSON_TYPE

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

BODY_BYTES_MAX = 2**20  # of a posted query
TAGS_MAX = 10_000  # of one list of tags
TOKEN_LENGTH_MIN = 16
NodeStatus = Callable[[], Awaitable[Mapping[str, Any]]]


def create_app(
    historian: HistorianService,
    *,
    token: str,
    status: NodeStatus | None = None,
    clock: Clock | None = None,
) -> Starlette:
    """The application on a running historian. `token` is what clients send as bearer token; `status` adds the node's
    own report to ``/api/v1/status``. Raises ConfigError for a token that could be guessed, or when Starlette is
    missing."""
    if len(token) < TOKEN_LENGTH_MIN:
        raise ConfigError("API token is too short", expected=f"at least {TOKEN_LENGTH_MIN} characters")
    return _Api(historian, token, status, clock or SystemClock()).app()


class _Api:
    def __init__(self, historian: HistorianService, token: str, status: NodeStatus | None, clock: Clock) -> None:
        self._historian = historian
        self._token = token.encode()
        self._status = status
        self._clock = clock

    def app(self) -> Starlette:
        """Routes and error handling."""
        with needs_extra("the HTTP API", "api"):
            from starlette.applications import Starlette
            from starlette.exceptions import HTTPException
            from starlette.routing import Route
        routes = [Route(f"/api/v1/{kind}", self._asked(kind), methods=["GET"]) for kind in QUERIES]
        routes += [
            Route("/api/v1/query", self._guarded(self._post_query), methods=["POST"]),
            Route("/api/v1/tags", self._guarded(self._tags), methods=["GET"]),
            Route("/api/v1/ledger", self._guarded(self._ledger), methods=["GET"]),
            Route("/api/v1/status", self._guarded(self._node_status), methods=["GET"]),
            Route("/metrics", self._guarded(self._metrics), methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
        ]
        return Starlette(routes=routes, exception_handlers={PlantError: _plant_error, HTTPException: _http_error})

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            """Raises AuthError, else hands on."""
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
                raise AuthError("no token, or a wrong one", expected="Authorization: Bearer <token>", code="MS-0630")
            return await handler(request)

        return guarded

    def _asked(self, kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def asked(request: Request) -> Response:
            """The question in the query string."""
            query = parse_query(kind, request.query_params.multi_items(), self._clock.now_ns())
            return await self._answer(request, query)

        return self._guarded(asked)

    async def _post_query(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > BODY_BYTES_MAX:
                raise DecodeError("query is too long", expected=f"at most {BODY_BYTES_MAX} bytes", code="MS-0320")
        query = decode_query(body)
        if getattr(query, "limit", 0) > ROWS_MAX:
            raise DecodeError("limit is out of range", where="limit", expected=f"at most {ROWS_MAX}", code="MS-0320")
        return await self._answer(request, query)

    async def _answer(self, request: Request, query: Query) -> Response:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        media_type = choose_type(request.headers.get("accept", ""), request.query_params.get("format"))
        table = await self._historian.query(query)
        body = await run_in_threadpool(render, table, media_type)
        return Response(body, media_type=media_type, headers={"Cache-Control": "no-store"})

    async def _tags(self, request: Request) -> Response:
        wanted = request.query_params
        kind = wanted.get("kind")
        if kind is not None and kind not in (*SAMPLE_KINDS, *EVENT_KINDS):
            raise DecodeError(
                "parameter is malformed", where="kind", expected=", ".join((*SAMPLE_KINDS, *EVENT_KINDS)), got=kind,
                code="MS-0320",
            )  # fmt: skip
        found = self._historian.tags(wanted.get("pattern", "*"), kind)
        tags = [
            {
                "tag": e.path,
                "kind": e.kind,
                "description": None if e.description is None else msgspec.Raw(e.description.encode()),
            }
            for e in found[:TAGS_MAX]
        ]
        return _json({"tags": tags, "truncated": len(found) > TAGS_MAX})

    async def _ledger(self, request: Request) -> Response:
        accounts = self._historian.ledger()
        return _json({"origins": {o: {**asdict(a), "is_clean": a.is_clean} for o, a in sorted(accounts.items())}})

    async def _node_status(self, request: Request) -> Response:
        stats = await self._historian.stats()
        node = dict(await self._status()) if self._status is not None else None
        return _json({"version": __version__, "node": node, "historian": asdict(stats)})

    async def _metrics(self, request: Request) -> Response:
        from starlette.responses import Response

        return Response(metrics_text(await self._historian.stats()), media_type=METRICS_TYPE)

    async def _health(self, request: Request) -> Response:
        """Without a token, so it says nothing but yes or no."""
        return _json({"is_healthy": self._historian.is_healthy}, 200 if self._historian.is_healthy else 503)

    async def _openapi(self, request: Request) -> Response:
        return _json(openapi(__version__))


def _json(content: object, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    from starlette.responses import Response

    return Response(msgspec.json.encode(content), status_code, headers, JSON_TYPE)


def _plant_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PlantError)
    if isinstance(error, AuthError):
        return _json(error.as_dict(), 401, {"WWW-Authenticate": "Bearer"})
    code = 400 if isinstance(error, DecodeError) else 404 if isinstance(error, NotFoundError) else 503
    return _json(error.as_dict(), code)


def _http_error(request: Request, error: Exception) -> Response:
    status_code = getattr(error, "status_code", 500)
    what = "no such page" if status_code == 404 else "method not allowed" if status_code == 405 else str(error)
    found = NotFoundError(what, got=f"{request.method} {request.url.path}", next_step="see /openapi.json")
    return _json(found.as_dict(), status_code, getattr(error, "headers", None))
