"""Who keeps the people of a tenant over HTTP: administrators only, never above their own role, never elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette

from millstream.api._people import People, PeopleAccess
from millstream.api._refusals import plant_error
from millstream.client import LoginUsers
from millstream.kernel import PlantError
from millstream.login import LoginUser, Session

CHANGES = ("add", "password", "second-factor", "remove")
BODY = {"name": "cem", "role": "viewer"}


def user(name: str, role: str = "viewer", tenant: str = "acme") -> LoginUser:
    """Somebody."""
    return LoginUser(tenant=tenant, name=name, role=cast("Any", role), password="x", changed_s=1)


def session(id: str, name: str, role: str = "engineer", tenant: str = "acme", **more: Any) -> Session:
    """A log-in of somebody."""
    return Session(id=id, tenant=tenant, name=name, role=cast("Any", role), created_s=1, expires_s=2, **more)


class Book:
    """Users and sessions in memory."""

    def __init__(self) -> None:
        self.kept = {
            (one.tenant, one.name): one for one in (user("ann"), user("bos", "commander"), user("eve", tenant="beta"))
        }
        self.open = [session("s1", "ann"), session("s2", "bea"), session("s3", "eve", tenant="beta")]

    def users(self, tenant: str | None = None) -> list[LoginUser]:
        """See LoginBook."""
        return [one for one in self.kept.values() if tenant in (None, one.tenant) and not one.is_removed]

    def user(self, tenant: str, name: str) -> LoginUser | None:
        """See LoginBook."""
        return next((one for one in self.users(tenant) if one.name == name), None)

    def epoch_after(self, tenant: str, name: str) -> int:
        """See LoginBook."""
        return 1

    async def put_user(self, changed: LoginUser) -> LoginUser:
        """See LoginBook."""
        self.kept[(changed.tenant, changed.name)] = changed
        return changed

    def sessions(self) -> list[Session]:
        """See LoginBook."""
        return self.open

    def session(self, id: str) -> Session | None:
        """See LoginBook."""
        return next((one for one in self.open if one.id == id), None)


class Site:
    """The routes for one session."""

    def __init__(self, me: Session) -> None:
        self.book, self.refused, self.closed, self.who = Book(), list[str](), list[str](), list[str]()
        sites = {"plant1": SimpleNamespace(place="acme/plant1", labels={}, is_revoked=False)}
        tenant = SimpleNamespace(place="acme", sites=sites)
        trust = SimpleNamespace(tenants={"acme": tenant}, trust_serial=3, serial=3)
        desk = SimpleNamespace(
            book=self.book, note_refused=lambda _, what, origin: self.refused.append(what), close=self._close
        )

        @asynccontextmanager
        async def users(who: str, origin: str) -> AsyncIterator[LoginUsers]:
            self.who.append(who)
            yield LoginUsers(cast("Any", self.book), cast("Any", trust), who, origin)

        door = SimpleNamespace(session_of=lambda request: me)
        access = PeopleAccess(users, frozenset({"acme/bea"}))
        people = People(cast("Any", door), cast("Any", SimpleNamespace(trust=trust)), cast("Any", desk), access)
        self.app = Starlette(routes=people.routes(), exception_handlers={PlantError: plant_error})

    async def _close(self, ended: Session, reason: str) -> None:
        self.closed.append(f"{ended.id}: {reason}")

    async def post(self, what: str, body: dict[str, Any]) -> httpx.Response:
        """One act."""
        async with self._client() as client:
            return await client.post(f"/api/v1/admin/{what}", json=body)

    async def show(self) -> dict[str, Any]:
        """What is seen."""
        async with self._client() as client:
            found: dict[str, Any] = (await client.get("/api/v1/admin")).json()
            return found

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="https://plant.example")


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize(
    "me",
    [session("s", "ann", "commander"), session("s", "bea", via="oidc:corp"), session("s", "bea", paths=["acme/plant1"]),
     session("s", "bea", tenant="beta")],
)  # fmt: skip
async def test_who_is_no_administrator_changes_nobody_and_the_audit_hears_of_it(what: str, me: Session) -> None:
    site = Site(me)
    body = BODY if what == "add" else {"name": "ann"}
    answer = await site.post(f"users/{what}", body)
    assert (answer.status_code, answer.json()["code"]) == (403, "MS-2126")
    assert "login.admins" in answer.json()["expected"]
    assert (site.who, len(site.refused)) == ([], 1)


async def test_an_administrator_adds_changes_and_takes_out_up_to_the_own_role() -> None:
    site = Site(session("s2", "bea"))
    added = (await site.post("users/add", {**BODY, "second_factor": True})).json()
    assert len(added["password"]) >= 20
    assert added["second_factor_address"].startswith("otpauth://")
    assert site.who == ["bea of acme"]
    given = (await site.post("users/password", {"name": "cem", "password": "a sentence of their own"})).json()
    assert (given["password"], given["second_factor_address"]) == (None, None)
    off = (await site.post("users/second-factor", {"name": "cem", "is_wanted": False})).json()
    assert off["user"]["second_factor"] is False
    assert (await site.post("users/remove", {"name": "cem"})).status_code == 200
    assert site.book.user("acme", "cem") is None
    refused = [
        ("add", {**BODY, "role": "commander"}, 403), ("add", {**BODY, "role": "king"}, 400),
        ("add", {**BODY, "paths": ["beta/x"]}, 400), ("add", {**BODY, "name": "<b>"}, 400),
        ("password", {"name": "bos"}, 403), ("remove", {"name": "bos"}, 403), ("remove", {"name": "eve"}, 404),
        ("password", {"name": "ann", "password": "short"}, 400), ("add", {**BODY, "tenant": "beta"}, 400),
    ]  # fmt: skip
    for what, body, status in refused:
        assert (await site.post(f"users/{what}", body)).status_code == status, (what, body)
    assert {name for _, name in site.book.kept} == {"ann", "bos", "eve", "cem"}


async def test_nobody_takes_out_oneself() -> None:
    site = Site(session("s2", "bea"))
    site.book.kept["acme", "bea"] = user("bea", "engineer")
    assert (await site.post("users/remove", {"name": "bea"})).status_code == 403


async def test_each_sees_and_ends_the_own_sessions_and_an_administrator_those_of_the_tenant() -> None:
    ann, bea = Site(session("s9", "ann")), Site(session("s2", "bea"))
    seen = await ann.show()
    assert (seen["users"], [one["id"] for one in seen["sessions"]], seen["is_admin"]) == (None, ["s1"], False)
    assert (await ann.post("sessions/end", {"id": "s2"})).status_code == 404
    assert (await ann.post("sessions/end", {"id": "s1"})).status_code == 200
    seen = await bea.show()
    assert ([one["name"] for one in seen["users"]], seen["roles"]) == (["ann", "bos"], ["viewer", "engineer"])
    assert [one["id"] for one in seen["sessions"]] == ["s1", "s2"]
    assert (await bea.post("sessions/end", {"id": "s3"})).status_code == 404
    assert (await bea.post("sessions/end", {"id": "s1"})).status_code == 200
    assert bea.closed == ["s1: ended by bea"]
    assert "x" not in str(seen["users"][0].values()), "no hash is told"
