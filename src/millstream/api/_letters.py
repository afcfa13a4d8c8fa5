"""Dead letters and quarantine over HTTP: look, put right and send, let go; and the way of one message."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.api._browser import read_json
from millstream.api._desk import ActDesk, asked, check_whole, posted, sees, tag_of, whole_number
from millstream.api._request import json_response
from millstream.kernel import DecodeError, NotFoundError
from millstream.model import TagPath

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._door import Actor
    from millstream.client import DeadLetter, Plant

LETTERS_COUNT_MAX = 1000  # of one list
SHOWN_BYTES_MAX = 256 << 10  # of one letter; the command line gives all
REPAIRED_BYTES_MAX = 4 << 20


class ReplayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Send a letter again; `payload` are its bytes put right, as text, `path` the tag where they belong instead."""

    id: str
    path: str | None = None
    payload: str | None = None
    why: str = ""


class DropRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Let a letter go for good. `why` stands in the audit."""

    id: str
    why: str


class Letters:
    """The routes, behind a desk."""

    def __init__(self, desk: ActDesk) -> None:
        self._desk = desk
        self._sending = asyncio.Lock()
        """One at a time: the second of two clicks finds what the first has stored."""

    def routes(self) -> list[BaseRoute]:
        """Letters, and traces."""
        from starlette.routing import Route

        return [
            Route("/api/v1/dead-letters", self._list, methods=["GET"]),
            Route("/api/v1/dead-letters/replay", self._replay, methods=["POST"]),
            Route("/api/v1/dead-letters/drop", self._drop, methods=["POST"]),
            Route("/api/v1/dead-letters/{id}", self._show, methods=["GET"]),
            Route("/api/v1/trace", self._trace, methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        actor = await self._desk.looking(request)
        limit = whole_number(request.query_params.get("limit", "100"), "limit", LETTERS_COUNT_MAX)
        async with self._desk.plant(actor) as plant:
            letters, total = await plant.dead_letters(limit=max(1, limit))
        seen = [letter for letter in letters if _sees_letter(actor, letter)]
        shown = [{**letter.as_dict(), "node": letter.node} for letter in reversed(seen)]
        return json_response({"letters": shown, "total": len(seen) if actor.paths else total})

    async def _show(self, request: Request) -> Response:
        actor = await self._desk.looking(request)
        async with self._desk.plant(actor) as plant:
            letter = await _letter(plant, actor, request.path_params["id"])
        shown = letter.payload[:SHOWN_BYTES_MAX]
        more = {"node": letter.node, "headers": dict(letter.headers), "subject": letter.subject}
        payload = {"payload": base64.b64encode(shown).decode(), "is_cut": len(shown) < len(letter.payload)}
        return json_response({**letter.as_dict(), **more, **payload})

    async def _replay(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "replay a dead letter")
        wanted = await read_json(request, ReplayRequest, REPAIRED_BYTES_MAX)
        path = None if wanted.path is None else str(tag_of(actor, wanted.path))
        payload = None if wanted.payload is None else wanted.payload.encode("utf-8", "surrogatepass")
        async with self._sending, self._desk.plant(actor) as plant:
            await _letter(plant, actor, wanted.id)
            stored = await plant.letters.replay(wanted.id, who=actor.who, why=wanted.why, path=path, payload=payload)
        return json_response({"id": wanted.id, "is_taken": True, "stored": f"{stored.stream}:{stored.last_seq}"})

    async def _drop(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "drop a dead letter")
        wanted = await read_json(request, DropRequest)
        if not wanted.why.strip():
            raise DecodeError("it has to be said why", where="why", expected="a reason for the audit", code="MS-2125")
        async with self._sending, self._desk.plant(actor) as plant:
            await _letter(plant, actor, wanted.id)
            await plant.letters.drop(wanted.id, who=actor.who, why=wanted.why)
        return json_response({"id": wanted.id, "is_taken": True})

    async def _trace(self, request: Request) -> Response:
        actor, wanted = await self._desk.looking(request), request.query_params
        check_whole(actor, "a trace")  # it names whatever a message was made of, wherever that lies
        async with self._desk.plant(actor) as plant:
            found = await plant.trace(wanted.get("what", ""), kind=wanted.get("kind", "tag"))
        return json_response(found.as_dict())


async def _letter(plant: Plant, actor: Actor, id: str) -> DeadLetter:
    """One that the person may see. Raises NotFoundError."""
    letter = await plant.dead_letter(id)
    if not _sees_letter(actor, letter):
        raise NotFoundError("no such dead letter", got=id[:80])
    return letter


def _sees_letter(actor: Actor, letter: DeadLetter) -> bool:
    """Of one without a place nobody knows whose it is: it is for who sees all."""
    if not actor.paths:
        return True
    return letter.path is not None and sees(actor, TagPath.parse(letter.path).asset)


LETTER_PATHS: dict[str, Any] = {
    "/api/v1/dead-letters": asked("dead_letters", "What could not become data, the newest first", optional=("limit",)),
    "/api/v1/dead-letters/{id}": asked("dead_letter", "One of them with its bytes, as base64", in_path=("id",)),
    "/api/v1/dead-letters/replay": posted(
        "replay_dead_letter", "Send one again, put right or as it is: stored once (engineers)", ReplayRequest
    ),
    "/api/v1/dead-letters/drop": posted("drop_dead_letter", "Let one go, told to the audit (engineers)", DropRequest),
    "/api/v1/trace": asked("trace", "What touched a message: a tag's newest, STREAM:SEQUENCE, or a trace id", "what",
                           optional=("kind",)),
}  # fmt: skip
"""For the OpenAPI description."""
