"""A browser at a node with one plant: the token once, a session for it, and another site gets neither."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millstream.api._refusals import plant_error
from millstream.api._token_door import SESSION_S, SESSIONS_COUNT_MAX, BrowserAccess, TokenDoor
from millstream.kernel import PlantError, SystemClock

TOKEN = "a-token-for-these-tests-only"
KEY = {"public_key": "U" + "A" * 55}


class SetClock(SystemClock):
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.at_s = 1_700_000_000

    def now_ns(self) -> int:
        return self.at_s * 10**9


def client_of(clock: SetClock, *, is_tls: bool = False, access: BrowserAccess | None = None) -> httpx.AsyncClient:
    """Of an application with this door."""
    historian = cast("Any", SimpleNamespace(is_healthy=True))
    door = TokenDoor(lambda: historian, TOKEN, None, clock, access=access, is_tls=is_tls)

    async def seen(request: Request) -> Response:
        await door.admit(request)
        return Response("seen")

    app = Starlette(routes=[*door.routes(), Route("/seen", seen)], exception_handlers={PlantError: plant_error})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://plant.example")


async def log_in(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    """With the right token."""
    return await client.post("/api/v1/login", json={"token": TOKEN}, headers=headers)


async def test_the_token_gives_a_session_that_a_log_out_ends() -> None:
    async with client_of(SetClock(), access=BrowserAccess(8080, "people", "secret")) as client:
        assert (await client.get("/api/v1/login")).json()["token"] is True
        assert (await client.get("/seen")).status_code == 401
        answer = await log_in(client)
        assert "httponly" in answer.headers["set-cookie"].lower()
        assert "samesite=strict" in answer.headers["set-cookie"].lower()
        assert TOKEN not in answer.headers["set-cookie"]
        assert (await client.get("/seen")).text == "seen"
        nats = (await client.post("/api/v1/session/credentials", json=KEY)).json()["nats"]
        assert (nats["user"], nats["password"], nats["inbox_prefix"]) == ("people", "secret", "_INBOX.people")
        assert (await client.delete("/api/v1/session")).json() == {"ended": True}
        assert (await client.get("/api/v1/session")).status_code == 401


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ä" * 20])
async def test_any_other_token_gives_nothing(token: str) -> None:
    async with client_of(SetClock()) as client:
        answer = await client.post("/api/v1/login", json={"token": token})
        assert (answer.status_code, answer.json()["code"]) == (401, "MS-0630")
        assert "set-cookie" not in answer.headers
        assert (await client.post("/api/v1/session/credentials", json=KEY)).status_code == 401


async def test_another_site_can_neither_log_in_nor_use_the_session() -> None:
    async with client_of(SetClock()) as client:
        assert (await log_in(client, Origin="https://evil.example")).status_code == 403
        await log_in(client, Origin="https://plant.example")
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            found = await client.post("/api/v1/session/credentials", json=KEY, headers=headers)
            assert found.status_code == 403
            assert (await client.delete("/api/v1/session", headers=headers)).status_code == 403


async def test_a_session_ends_by_itself_and_there_are_never_too_many() -> None:
    clock = SetClock()
    async with client_of(clock) as client:
        await log_in(client)
        first = client.cookies["millstream_session"]
        clock.at_s += SESSION_S - 1
        assert (await client.get("/seen")).status_code == 200
        clock.at_s += 2
        assert (await client.get("/seen")).status_code == 401
        await log_in(client)
        kept = client.cookies["millstream_session"]
        for _ in range(SESSIONS_COUNT_MAX):
            await log_in(client)
        assert first != kept
        client.cookies.set("millstream_session", kept, domain="plant.example")
        assert (await client.get("/seen")).status_code == 401


async def test_with_tls_the_cookie_is_of_this_host_alone() -> None:
    async with client_of(SetClock(), is_tls=True) as client:
        cookie = (await log_in(client)).headers["set-cookie"]
        assert cookie.startswith("__Host-millstream_session=")
        assert "secure" in cookie.lower()
