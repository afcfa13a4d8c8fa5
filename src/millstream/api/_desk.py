"""What the routes of people's acts have in common: who asks, whether role and path may, a link to the plant.

The way is that of the command line, with the hub's own log-in to the plant. So who may is decided here, before anything
is asked of the plant, and the hub says who it is, never the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from millstream.api._request import FORBIDDEN
from millstream.kernel import AuthError, Clock, DecodeError
from millstream.model import AssetPath, TagPath

if TYPE_CHECKING:
    from starlette.requests import Request

    from millstream.api._door import Actor, Door
    from millstream.client import Plant

Plants: TypeAlias = "Callable[[str | None], AbstractAsyncContextManager[Plant]]"
"""Opens the plant of a tenant (None: the only one) with the hub's own log-in."""
ENGINEERS = frozenset({"engineer", "commander"})
COMMANDERS = frozenset({"commander"})
ACTS_COUNT_MAX = 8  # that are under way at once; more wait


def plants_of(data_dir: Path) -> Plants:
    """The plants of the hub with this folder. The link is made for each act: people are slow, and a link that nobody
    needs is one that can be stale."""

    def open_plant(tenant: str | None) -> AbstractAsyncContextManager[Plant]:
        from millstream.client import connect

        return connect(data_dir, tenant=tenant)

    return open_plant


@dataclass(frozen=True, slots=True)
class ActDesk:
    """The door, the plant behind it, and a bound on what is under way at once."""

    door: Door
    plants: Plants
    clock: Clock
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ACTS_COUNT_MAX))

    async def looking(self, request: Request) -> Actor:
        """Who asks; anybody who is let in. Raises AuthError."""
        return (await self.door.admit(request)).actor

    async def acting(self, request: Request, what: str, roles: frozenset[str] = ENGINEERS) -> Actor:
        """The same for one of `roles`. Raises AuthError for any other; it is told to the audit."""
        actor = await self.looking(request)
        if actor.role not in roles:
            actor.refused(what)
            only = "may look only" if roles == ENGINEERS else f"may not {what}"
            raise AuthError(
                f"this role {only}", where=what, expected=" or ".join(sorted(roles)), got=actor.role,
                next_step="ask whoever gives out log-ins", code=FORBIDDEN,
            )  # fmt: skip
        return actor

    @asynccontextmanager
    async def plant(self, actor: Actor) -> AsyncIterator[Plant]:
        """The plant of who asks. Raises Unreachable."""
        async with self.slots, self.plants(actor.tenant) as plant:
            plant.act_from(actor.origin)
            yield plant


def sees(actor: Actor, place: AssetPath) -> bool:
    """Whether a place lies where the person may."""
    return not actor.paths or any(AssetPath.parse(path).contains(place) for path in actor.paths)


def sees_path(actor: Actor, path: str) -> bool:
    """The same of the path of a place as text."""
    return not actor.paths or sees(actor, AssetPath.parse(path))


def tag_of(actor: Actor, text: str) -> TagPath:
    """One tag that lies where the person may. Raises DecodeError, AuthError."""
    tag = TagPath.parse(_without_star(text))
    _check_inside(actor, tag.asset, text)
    return tag


def place_of(actor: Actor, text: str) -> AssetPath:
    """One place of the same kind. Raises DecodeError, AuthError."""
    place = AssetPath.parse(_without_star(text))
    _check_inside(actor, place, text)
    return place


def check_whole(actor: Actor, what: str) -> None:
    """Raise AuthError for a person of some paths."""
    if actor.paths:
        raise AuthError(
            f"{what}: not for some paths only", expected="a log-in for the whole tenant", got=", ".join(actor.paths),
            code=FORBIDDEN,
        )  # fmt: skip


def _without_star(text: str) -> str:
    """A name with a star in it would be a pattern to whoever reads the plant, and fit more than its place."""
    if "*" in text:
        raise DecodeError("one path, no pattern", where="path", got=text[:200], code="MS-0320")
    return text


def _check_inside(actor: Actor, place: AssetPath, text: str) -> None:
    if not sees(actor, place):
        raise AuthError("not below your paths", expected=", ".join(actor.paths), got=text[:200], code=FORBIDDEN)


def whole_number(text: str, name: str, count_max: int) -> int:
    """A parameter that counts from 0. Raises DecodeError."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= count_max):
        raise DecodeError(
            "parameter is malformed", where=name, expected=f"0 to {count_max}", got=repr(text[:40]), code="MS-0320"
        )
    return int(text)


# -- for the OpenAPI description ------------------------------------------------------------------------------------

TEXT = {"type": "string"}
_TIME = {"in": "query", "schema": TEXT, "description": "RFC 3339, ns since 1970, now, or relative such as -8h"}
_ANSWERS = {
    "200": {"description": "the answer"}, "400": {"description": "the question cannot be read"},
    "401": {"description": "not logged in"}, "403": {"description": "another site asks, or the role or path may not"},
    "404": {"description": "nothing of this name"}, "409": {"description": "it does not allow this now"},
}  # fmt: skip


def posted(name: str, about: str, form: type[msgspec.Struct]) -> dict[str, Any]:
    """A route that takes a body."""
    (schema,), components = msgspec.json.schema_components([form])
    body = components[form.__name__] if "$ref" in schema else schema
    content = {"application/json": {"schema": body}}
    return {"post": {
        "operationId": name, "summary": about, "responses": _ANSWERS,
        "requestBody": {"required": True, "content": content},
    }}  # fmt: skip


def asked(name: str, about: str, *required: str, optional: tuple[str, ...] = (), times: tuple[str, ...] = (),
          in_path: tuple[str, ...] = ()) -> dict[str, Any]:  # fmt: skip
    """A route that takes parameters."""
    parameters: list[dict[str, Any]] = [
        {"name": one, "in": "path", "required": True, "schema": TEXT} for one in in_path
    ]
    parameters += [{"name": one, "in": "query", "required": True, "schema": TEXT} for one in required]
    parameters += [{"name": one, "in": "query", "schema": TEXT} for one in optional]
    parameters += [{"name": time, **_TIME} for time in times]
    return {"get": {"operationId": name, "summary": about, "parameters": parameters, "responses": _ANSWERS}}
