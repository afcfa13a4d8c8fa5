"""Writing to a machine over HTTP, within what its edge allows; what a tag is held to, and what is known of a place."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.api._browser import read_json
from millstream.api._desk import COMMANDERS, ActDesk, asked, place_of, posted, sees, tag_of
from millstream.api._request import json_response
from millstream.kernel import DecodeError
from millstream.model import TagPath
from millstream.protocols.write_request import VALUE_BYTES_MAX

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._door import Actor
    from millstream.client import Contract

BODY_BYTES_MAX = 2 * VALUE_BYTES_MAX


class WriteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One value in the tag's unit; null gives a priority back. `valid` is how long it may wait. The same `id` is
    carried out once."""

    path: str
    value: Any
    valid: str = "10s"
    id: str | None = None


class MachineActs:
    """The routes, behind a desk."""

    def __init__(self, desk: ActDesk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """What may be written, writing, contracts of a tag, context of a place (without one: of all that one sees)."""
        from starlette.routing import Route

        return [
            Route("/api/v1/writable", self._writable, methods=["GET"]),
            Route("/api/v1/write", self._write, methods=["POST"]),
            Route("/api/v1/contracts", self._contracts, methods=["GET"]),
            Route("/api/v1/context", self._context, methods=["GET"]),
        ]

    async def _writable(self, request: Request) -> Response:
        actor = await self._desk.looking(request)
        async with self._desk.plant(actor) as plant:
            found = await plant.writable()
        rows = [
            {"node": node, **msgspec.to_builtins(tag)}
            for node, tags in sorted(found.items())
            for tag in tags
            if sees(actor, TagPath.parse(tag.tag).asset)
        ]
        return json_response({"writable": rows})

    async def _write(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "write to a machine", COMMANDERS)
        wanted = await read_json(request, WriteRequest, BODY_BYTES_MAX)
        path, id = str(tag_of(actor, wanted.path)), wanted.id or str(uuid.uuid4())
        async with self._desk.plant(actor) as plant:
            answer = await plant.write(path, wanted.value, valid=wanted.valid, id=id, who=actor.who)
        return json_response({"is_taken": True, **msgspec.to_builtins(answer)})

    async def _contracts(self, request: Request) -> Response:
        actor, wanted = await self._desk.looking(request), request.query_params
        tag, kind = tag_of(actor, wanted.get("tag", "")), wanted.get("kind", "tag")
        async with self._desk.plant(actor) as plant:
            found = await plant.contracts()
        newest = {contract.name: contract for contract in found}  # by name and version: the last one stays
        return json_response({"contracts": [
            _bounded(actor, contract).as_dict() for contract in newest.values() if _holds(contract, tag, kind)
        ]})  # fmt: skip

    async def _context(self, request: Request) -> Response:
        actor, wanted = await self._desk.looking(request), request.query_params
        path = wanted.get("path", "")
        places = [str(place_of(actor, path))] if path else (actor.paths or ["**"])  # all that this person sees
        async with self._desk.plant(actor) as plant:
            found = await plant.context.list(*places, what=wanted.get("what"))
        return json_response({"facts": [fact.as_dict() for fact in found]})


def _holds(contract: Contract, tag: TagPath, kind: str) -> bool:
    from millstream.client import Pattern
    from millstream.protocols.uns_subject import UnsAddress

    if contract.kind != kind:
        return False
    address = UnsAddress(tag.asset, f"_{kind}", tag.names)
    try:
        return any(Pattern.parse(path).matches(address) for path in contract.paths)
    except DecodeError:
        return False


def _bounded(actor: Actor, contract: Contract) -> Contract:
    """To whom only some paths are known, it does not say where else it holds."""
    return replace(contract, paths=()) if actor.paths else contract


MACHINE_PATHS: dict[str, Any] = {
    "/api/v1/writable": asked("writable", "The tags that may be written, with their bounds"),
    "/api/v1/write": posted("write", "Write to a machine within its edge's bounds (commanders)", WriteRequest),
    "/api/v1/contracts": asked("contracts", "The newest contracts that a tag is held to", "tag", optional=("kind",)),
    "/api/v1/context": asked("context", "What is known of a place and below it: orders, products, operators, reasons",
                             optional=("path", "what")),
}  # fmt: skip
"""For the OpenAPI description."""
