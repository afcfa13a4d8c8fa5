"""People log in at a hub with tenants: a session, NATS credentials for their paths, and the API below them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from login_site import Browser, LoginSite, browser, login_body, login_site
from trust_site import until

from millstream.bus import Credentials, RawConnection
from millstream.kernel import AuthError, SystemClock
from millstream.login import LoginAround, LoginDesk, LoginOptions

TAGS = ("acme/plant1/line:speed", "acme/plant2/line:speed", "acme/plant1:power")


async def names(client: httpx.AsyncClient, path: str, **query: str) -> list[str]:
    """The tags in an answer."""
    answer = await client.get(f"/api/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return sorted({row["tag"] for row in answer.json()["tags" if path == "tags" else "data"]})


async def live_after(site: LoginSite, page: Browser, tag: str, subject: str) -> None:
    """Publish until the page hears it: a subscription reaches the other account a moment later."""
    mark = len(page.lines)

    async def is_heard() -> bool:
        async with site.site.plant("acme") as plant:
            await plant.publish(tag, 7)
        return any(line.get("live") == subject for line in page.lines[mark:])

    await until(is_heard, f"{subject} live")


@pytest.mark.needs("@nats-io/nats-core")
async def test_a_browser_logs_in_and_sees_its_paths_live_last_and_in_history_until_it_logs_out(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme") as site, site.http() as client, browser() as page:
        await site.publish("acme", *TAGS)
        await site.add("acme", "ann", paths=("acme/plant1/**",))
        answer = await client.post("/api/v1/login", json=login_body("acme", "ann", public_key=page.public))
        assert answer.status_code == 200, answer.text
        session = answer.json()
        assert (session["role"], session["paths"], session["place"]) == ("viewer", ["acme/plant1"], "acme")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "token" not in session

        # the API, by the cookie
        assert await names(client, "last", tag="*") == ["acme/plant1/line:speed", "acme/plant1:power"]
        assert await names(client, "tags") == ["acme/plant1/line:speed", "acme/plant1:power"]
        assert (await client.get("/api/v1/last", params={"tag": TAGS[1]})).status_code == 404

        # NATS over WebSocket, by what the server enforces
        nats = session["nats"]
        assert await page.connect(site, nats)
        for subject in (*nats["live_subjects"], "live.uns.v1.acme.plant2.>"):
            await page.say(subscribe=subject)
        await page.hear(refused="live.uns.v1.acme.plant2.>")
        await live_after(site, page, TAGS[0], "live.uns.v1.acme.plant1.line._tag.speed")
        last = await page.ask(f"{nats['api_prefix']}.DIRECT.GET.H_LOCAL.uns.v1.acme.plant1.line._tag.speed")
        assert last["parts"][0]["headers"]["Nats-Stream"] == "H_LOCAL"
        history = await page.ask(nats["history_subjects"][0], '{"kind":"names","tags":["*"]}')
        assert "plant1" in history["parts"][0]["text"]
        assert "plant2" not in str(history)

        # the next credentials, before these expire; subscriptions go on
        renewed = (await client.post("/api/v1/session/credentials", json={"public_key": page.public})).json()["nats"]
        mark = len(page.lines)
        await page.say(jwt=renewed["jwt"])
        await page.say(reconnect=1)
        await page.hear(since=mark, status="reconnect")
        await live_after(site, page, TAGS[0], "live.uns.v1.acme.plant1.line._tag.speed")

        # logging out ends the connection, and the credentials open nothing more
        mark = len(page.lines)
        assert (await client.delete("/api/v1/session")).status_code == 200
        await page.hear(since=mark, status="disconnect")
        assert (await client.get("/api/v1/session")).status_code == 401
        events = await site.site.audit("acme", "session")
        told = [event.get("reason") or event.get("key") or event.get("via") for event in events]
        assert told == ["password", page.public, page.public, "logged out"]
        assert not [line for line in page.lines if "plant2" in str(line.get("live"))]


async def seen(client: httpx.AsyncClient, path: str) -> Any:
    """JSON of an answer."""
    answer = await client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_person_of_a_whole_tenant_sees_all_of_it_and_nothing_of_another(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme", "beta") as site, site.http() as client:
        await asyncio.gather(site.publish("acme", *TAGS), site.publish("beta", "beta/plant1/line:speed"))
        await site.add("acme", "eve", role="engineer", paths=("acme/plant1", "acme"))
        answer = await client.post("/api/v1/login", json=login_body("acme", "eve", as_cookie=False))
        token = answer.json()["token"]
        assert "set-cookie" not in answer.headers
        assert (await client.get("/api/v1/session")).status_code == 401
        client.headers["Authorization"] = f"Bearer {token}"
        assert (await seen(client, "session"))["paths"] == []
        assert await names(client, "last", tag="*") == sorted(TAGS)
        assert "H_LOCAL" in (await seen(client, "ledger"))["origins"]
        assert (await seen(client, "status"))["node"]["tenant"] == "acme"
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/health")).json() == {"is_healthy": True}
        assert "/api/v1/login" in (await client.get("/openapi.json")).json()["paths"]
        assert (await client.get("/api/v1/last", params={"tag": "beta/plant1/line:speed"})).status_code == 404


async def test_sessions_and_their_ends_outlive_the_process_that_opened_them(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme") as site, site.http() as client:
        for name in ("ann", "ben", "eve"):
            await site.add("acme", name)
        tokens = {}
        for name in ("ann", "ben", "eve"):
            answer = await client.post("/api/v1/login", json=login_body("acme", name, as_cookie=False))
            tokens[name] = answer.json()["token"]
        headers = {"Authorization": f"Bearer {tokens['ben']}"}
        assert (await client.delete("/api/v1/session", headers=headers)).status_code == 200
        tenants = site.site.hub.tenants
        assert tenants is not None
        creds = {name: Credentials(creds_file=tenants.creds_dir / f"{name}.creds") for name in ("provider", "system")}
        url, told = site.site.hub.server.url, list[str]()

        async def audit(tenant: str, what: str, outcome: str, data: Mapping[str, object], once: str = "") -> None:
            told.append(f"{data['name']} {outcome}")

        async with (
            RawConnection(url, credentials=creds["provider"]) as provider,
            RawConnection(url, credentials=creds["system"]) as system,
        ):
            around = LoginAround(provider, system, lambda: tenants.trust, audit, lambda *refused: None)
            async with LoginDesk(around, LoginOptions(), SystemClock()) as next_desk, site.users() as users:
                assert next_desk.find(tokens["ann"]).name == "ann"
                for gone in (tokens["ben"], "nobody's"):
                    with pytest.raises(AuthError):
                        next_desk.find(gone)
                running = asyncio.ensure_future(next_desk.run())
                try:
                    await users.remove("acme", "eve")
                    await until(lambda: {"eve removed", "eve closed"} <= set(told), "it hears of it, too")
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                with pytest.raises(AuthError):
                    next_desk.find(tokens["eve"])
