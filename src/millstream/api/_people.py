"""Who is let in, over HTTP: the people of a tenant, their sessions, its sites, and what cannot be done online.

Whom the hub's file names in `login.admins` may add people, give new passwords and take people out, up to their own
role. It goes the way of `millstream login`, so it is told to the audit and ends sessions as that does. What the
operator has to sign needs its key store, which no hub has (ADR 8): the answer names the command.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from millstream.api._browser import read_json
from millstream.api._desk import asked, posted
from millstream.api._request import FORBIDDEN, address_of, json_response
from millstream.kernel import AuthError, NotFoundError
from millstream.login import LOGIN_ROLES, PASSWORD, LoginUser, Session, provisioning_uri

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._sessions import SessionDoor
    from millstream.client import LoginUsers
    from millstream.hub import Tenants
    from millstream.login import LoginDesk

Users: TypeAlias = "Callable[[str, str], AbstractAsyncContextManager[LoginUsers]]"
"""Opens the people of the hub, as somebody who changes them from an address."""
PASSWORD_BYTES = 15  # of one that is made here: 20 letters


def users_of(data_dir: Path) -> Users:
    """The people of the hub with this folder."""

    def open_users(who: str, origin: str) -> AbstractAsyncContextManager[LoginUsers]:
        from millstream.client import login_users

        return login_users(data_dir, who, origin)

    return open_users


@dataclass(frozen=True, slots=True)
class PeopleAccess:
    """How people are changed, and by whom: `admins` are ``tenant/user``."""

    users: Users
    admins: Collection[str] = ()


class AddRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new person. Without a `password` one is made, and told once."""

    name: str
    role: str
    paths: list[str] = []
    password: str | None = None
    second_factor: bool = False


class PersonRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A person to change. `is_wanted` is about the second factor, `password` about a new one."""

    name: str
    password: str | None = None
    is_wanted: bool = True


class EndRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A session to end."""

    id: str


class People:
    """The routes of a hub with tenants."""

    def __init__(self, door: SessionDoor, tenants: Tenants, desk: LoginDesk, access: PeopleAccess) -> None:
        self._door = door
        self._tenants = tenants
        self._desk = desk
        self._access = access
        self._changing = asyncio.Lock()

    def routes(self) -> list[BaseRoute]:
        """Look, and change."""
        from starlette.routing import Route

        return [
            Route("/api/v1/admin", self._show, methods=["GET"]),
            Route("/api/v1/admin/users/add", self._add, methods=["POST"]),
            Route("/api/v1/admin/users/password", self._password, methods=["POST"]),
            Route("/api/v1/admin/users/second-factor", self._second_factor, methods=["POST"]),
            Route("/api/v1/admin/users/remove", self._remove, methods=["POST"]),
            Route("/api/v1/admin/sessions/end", self._end, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        """Everybody sees where they are and what they may; administrators see who else is let in."""
        me = self._door.session_of(request)
        is_admin, book = self._is_admin(me), self._desk.book
        users = [_user(user) for user in book.users(me.tenant)] if is_admin else None
        open_ones = [one for one in book.sessions() if one.tenant == me.tenant and one.ended_s is None]
        theirs = [one for one in open_ones if is_admin or (one.name, one.via) == (me.name, me.via)]
        tenant = self._tenants.trust.tenants.get(me.tenant)  # None: the provider
        place, known = (None, {}) if tenant is None else (tenant.place, tenant.sites)
        sites = [
            {"name": name, "place": site.place, "labels": site.labels, "is_revoked": site.is_revoked}
            for name, site in sorted(known.items())
            if not me.paths or any(_below(path, site.place) for path in me.paths)
        ]
        return json_response({
            "tenant": me.tenant, "place": place, "is_admin": is_admin, "users": users, "sites": sites,
            "roles": LOGIN_ROLES[: LOGIN_ROLES.index(me.role) + 1] if is_admin else [],
            "sessions": [_session(one, me) for one in sorted(theirs, key=lambda one: -one.created_s)],
            "trust_serial": self._tenants.trust.serial,
        })  # fmt: skip

    async def _add(self, request: Request) -> Response:
        me = self._administrating(request, "add people")
        wanted = await read_json(request, AddRequest)
        self._check_rank(me, wanted.role)
        password = wanted.password or secrets.token_urlsafe(PASSWORD_BYTES)
        async with self._changing, self._access.users(_who(me), address_of(request)) as users:
            user = await users.add(me.tenant, wanted.name, password, role=wanted.role, paths=wanted.paths)
            if wanted.second_factor:
                user = await users.set_second_factor(me.tenant, wanted.name, is_wanted=True)
        return _changed(user, None if wanted.password else password, is_new_factor=wanted.second_factor)

    async def _password(self, request: Request) -> Response:
        me = self._administrating(request, "give passwords")
        wanted = await read_json(request, PersonRequest)
        self._check_rank(me, self._role_of(me, wanted.name))
        password = wanted.password or secrets.token_urlsafe(PASSWORD_BYTES)
        async with self._changing, self._access.users(_who(me), address_of(request)) as users:
            user = await users.set_password(me.tenant, wanted.name, password)
        return _changed(user, None if wanted.password else password)

    async def _second_factor(self, request: Request) -> Response:
        me = self._administrating(request, "change second factors")
        wanted = await read_json(request, PersonRequest)
        self._check_rank(me, self._role_of(me, wanted.name))
        async with self._changing, self._access.users(_who(me), address_of(request)) as users:
            user = await users.set_second_factor(me.tenant, wanted.name, is_wanted=wanted.is_wanted)
        return _changed(user, None, is_new_factor=wanted.is_wanted)

    async def _remove(self, request: Request) -> Response:
        me = self._administrating(request, "take people out")
        wanted = await read_json(request, PersonRequest)
        self._check_rank(me, self._role_of(me, wanted.name))
        if wanted.name == me.name:
            raise AuthError(
                "nobody takes out oneself", got=me.name, next_step="ask another administrator", code=FORBIDDEN
            )
        async with self._changing, self._access.users(_who(me), address_of(request)) as users:
            user = await users.remove(me.tenant, wanted.name)
        return _changed(user, None)

    async def _end(self, request: Request) -> Response:
        """One's own, or as an administrator anybody's of the tenant."""
        me = self._door.session_of(request)
        wanted = await read_json(request, EndRequest)
        found = self._desk.book.session(wanted.id)
        is_ones_own = found is not None and (found.name, found.via) == (me.name, me.via)
        if found is None or found.tenant != me.tenant or not (is_ones_own or self._is_admin(me)):
            raise NotFoundError("no such session", got=wanted.id[:40])
        await self._desk.close(found, f"ended by {me.name}")
        return json_response({"id": wanted.id, "is_taken": True})

    def _is_admin(self, session: Session) -> bool:
        """Of the whole tenant, and a person that this hub knows itself: another's names may be anybody's."""
        is_named = f"{session.tenant}/{session.name}" in self._access.admins
        return is_named and session.via == PASSWORD and not session.paths

    def _administrating(self, request: Request, what: str) -> Session:
        me = self._door.session_of(request)
        if not self._is_admin(me):
            self._desk.note_refused(me, what, address_of(request))
            raise AuthError(
                "only administrators may do this", where=what, got=me.name, code=FORBIDDEN,
                expected=f"{me.tenant}/{me.name} in `login.admins` of the hub's file",
            )  # fmt: skip
        return me

    def _check_rank(self, me: Session, role: str) -> None:
        """Nobody gives more than they have. What is no role is refused where it is used."""
        if role in LOGIN_ROLES and LOGIN_ROLES.index(role) > LOGIN_ROLES.index(me.role):
            raise AuthError("a role above your own", expected=f"up to {me.role}", got=role, code=FORBIDDEN)

    def _role_of(self, me: Session, name: str) -> str:
        user = self._desk.book.user(me.tenant, name)
        if user is None:
            raise NotFoundError("no user of this name", where=me.tenant, got=name[:80], code="MS-2120")
        return user.role


def _who(me: Session) -> str:
    return f"{me.name} of {me.tenant}"


def _below(path: str, place: str) -> bool:
    return place == path or place.startswith(f"{path}/")


def _user(user: LoginUser) -> dict[str, Any]:
    return {
        "name": user.name, "role": user.role, "paths": user.paths, "second_factor": user.totp is not None,
        "changed_s": user.changed_s, "changed_by": user.changed_by,
    }  # fmt: skip


def _session(one: Session, me: Session) -> dict[str, Any]:
    return {
        "id": one.id, "user": one.name, "role": one.role, "paths": one.paths, "via": one.via,
        "created_s": one.created_s, "expires_s": one.expires_s, "is_this": one.id == me.id,
    }  # fmt: skip


def _changed(user: LoginUser, password: str | None, *, is_new_factor: bool = False) -> Response:
    """What was made here is told this once."""
    address = None
    if is_new_factor and user.totp is not None:
        address = provisioning_uri(user.totp, user.name, f"Millstream {user.tenant}")
    return json_response({
        "id": user.name, "is_taken": True, "user": _user(user), "password": password, "second_factor_address": address,
    })  # fmt: skip


PEOPLE_PATHS: dict[str, Any] = {
    "/api/v1/admin": asked("admin", "Who is let in: people and sessions (administrators), sites"),
    "/api/v1/admin/users/add": posted("add_person", "Add somebody who logs in (administrators)", AddRequest),
    "/api/v1/admin/users/password": posted("give_password", "A new password; sessions end", PersonRequest),
    "/api/v1/admin/users/second-factor": posted("second_factor", "Ask for a code, or no longer", PersonRequest),
    "/api/v1/admin/users/remove": posted("remove_person", "Take somebody out, at once", PersonRequest),
    "/api/v1/admin/sessions/end": posted("end_session", "End a session, at once", EndRequest),
}
"""For the OpenAPI description."""
