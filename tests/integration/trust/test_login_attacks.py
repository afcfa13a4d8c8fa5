"""Attempts to get in where people log in; each must fail, and what is told of it stands in the audit."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from login_site import PAGE, PASSWORD, LoginSite, bearer, log_in, login_body, login_site, nats_of, person
from trust_site import until

from millstream.login._attempts import USER_TRIES
from millstream.trust import new_key

attack = pytest.mark.attack


async def told(site: LoginSite, whose: str, what: str, /, **data: Any) -> None:
    """An audit event of this kind, with these values, is stored."""

    async def is_told() -> bool:
        return any(data.items() <= event.items() for event in await site.site.audit(whose, what))

    await until(is_told, f"an audit event {what} with {data}")


@attack("guessing passwords, of users that are there and such as are not, one after the other and many at once",
        layer="API (Argon2id, attempts by user and address)")  # fmt: skip
@attack(
    "the code of a second factor used again, or twice at once, or left out",
    layer="API (each step of time is good once)",
)
async def test_guesses_lock_the_name_and_say_nothing_of_who_is_there_and_a_code_is_good_once(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme") as site, site.http() as client:
        await site.add("acme", "ann")
        answers = [await log_in(client, tenant, user, password="guess guess") for tenant, user in (
            ("acme", "ann"), ("acme", "nobody"), ("none", "ann"), ("acme", "x" * 5000), ("", ""),
        )]  # fmt: skip
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.text for answer in answers}) == 1
        many = await asyncio.gather(*(log_in(client, "acme", "ann", password=f"guess {n}") for n in range(12)))
        assert sorted({answer.status_code for answer in many}) == [401, 429]
        assert sum(answer.status_code == 401 for answer in many) == USER_TRIES - 1
        locked = await log_in(client, "acme", "ann")  # the right one, too late
        assert locked.status_code == 429
        assert int(locked.headers["retry-after"]) > 0
        await site.add("acme", "tom")
        async with site.users() as users:
            secret = (await users.set_second_factor("acme", "tom", is_wanted=True)).totp
        assert secret is not None
        await until(lambda: site.desk.book.user("acme", "tom").totp == secret, "the hub has heard")
        without = await log_in(client, "acme", "tom")
        assert (without.status_code, without.json()["code"]) == (401, "MS-2123")
        code = pyotp.TOTP(secret).at(int(time.time()))
        both = await asyncio.gather(*(log_in(client, "acme", "tom", code=code) for _ in range(2)))
        assert sorted(answer.status_code for answer in both) == [200, 401]
        assert (await log_in(client, "acme", "tom", code=code)).status_code == 401
        following = pyotp.TOTP(secret).at(int(time.time()) + 30)
        assert (await log_in(client, "acme", "tom", code=following)).status_code == 200
        await told(site, "acme", "session.locked", locked="user")
        await told(site, "acme", "session.refused", reason="wrong or used code")
        await told(site, "acme", "session.refused", name="ann", reason="wrong name or password")
        await told(site, "", "session.refused", tenant="none")
        assert PASSWORD not in str(await site.site.audit("acme", "session"))


@attack("a viewer of one path listening, reading and asking elsewhere, by wildcards, bodies, inboxes, history",
        layer="server (paths in the scope of the signing key)")  # fmt: skip
async def test_a_person_of_one_path_hears_and_reads_nothing_of_another(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme") as site, site.http() as client:
        await site.publish("acme", "acme/plant1/line:speed", "acme/plant2/line:speed", "acme/plant10/line:speed")
        await site.add("acme", "ann", role="commander", paths=("acme/plant1",))
        await bearer(site, client, "acme", "ann")
        files = [site.site.operator.join_file("acme", name) for name in ("plant1", "plant10")]
        await site.site.taken()
        folder = await site.site.join(files[0])
        key = new_key("user")
        async with site.site.edge(files[0], folder), person(site, await nats_of(client, key), key) as ann:

            async def is_answered() -> bool:
                return await ann.outcome("millstream.node.plant1.status") == ""

            await until(is_answered, "the site in the path answers")  # its interest reaches the hub a moment later
            elsewhere = (
                "live.uns.v1.acme.plant2.>", "live.uns.v1.acme.plant10.>", "live.uns.v1.acme.>", "live.>", ">",
                "live.uns.v1.*.plant2.>", "_INBOX.>", "_INBOX.hub.>", "millstream.>", "$SYS.>", "$JS.>",
            )  # fmt: skip
            for subject in elsewhere:
                await ann.client.subscribe(subject)
            await until(lambda: len(ann.errors) >= len(elsewhere), "each subscription is refused")
            get = "JSP.API.DIRECT.GET.H_INTEGRITY"
            mine = f"{get}.uns.v1.acme.plant1.line._tag.speed"
            assert await ann.outcome(mine) == ""
            for body in (b'{"seq":2}', b'{"multi_last":["uns.>"]}', b'{"next_by_subj":"uns.>","batch":9,"seq":1}'):
                assert await ann.outcome(mine, body) == "408", body
            for subject, data in (
                (f"{get}.uns.v1.acme.plant2.line._tag.speed", b""), (f"{get}.uns.v1.acme.>", b""), (get, b'{"seq":1}'),
                ("JSP.API.STREAM.INFO.H_INTEGRITY", b'{"subjects_filter":">"}'),
                ("millstream.historian.query", b'{"kind":"last","tags":["*"]}'),
                ("millstream.history.below.uns.v1.acme.plant2", b'{"kind":"last","tags":["*"]}'),
                ("millstream.history.below.uns.v1.acme", b'{"kind":"last","tags":["*"]}'),
                ("millstream.node.h1.fleet_data", b"{}"), ("millstream.node.h1.command", b"{}"),
                ("millstream.node.h1.status", b""), ("millstream.node.plant10.status", b""),
                ("millstream.node.plant10.write", b"{}"), ("millstream.node.*.write", b"{}"),
            ):  # fmt: skip
                assert await ann.outcome(subject, data) == "violation", subject
            answer = await ann.client.request(
                "millstream.history.below.uns.v1.acme.plant1", b'{"kind":"last","tags":["acme/plant2/line:speed"]}'
            )
            assert "no such tag" in (answer.headers or {}).get("Ms-Error", "")
        await told(site, "acme", "permission.refused", subject="live.uns.v1.acme.plant2.>", key=key.public)


@attack("crossing tenants and paths through the API: parameters, patterns, posted queries, headers, other pages",
        layer="API (the session's tenant and paths)")  # fmt: skip
async def test_no_parameter_leads_out_of_tenant_and_path(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme", "beta") as site, site.http() as client:
        await site.publish("acme", "acme/plant1:power", "acme/plant2:secret")
        await site.publish("beta", "beta/plant1:secret")
        await site.add("acme", "ann", paths=("acme/plant1",))
        await bearer(site, client, "acme", "ann")
        texts = []
        for path, query in (
            ("last", {"tag": "*"}), ("last", {"tag": "beta/*"}), ("last", {"tag": "beta/plant1:secret"}),
            ("last", {"tag": "acme/plant1/../plant2:secret"}), ("last", {"tag": "*", "tenant": "beta"}),
            ("range", {"tag": "acme/plant[12]:*"}), ("count", {"tag": "*secret"}), ("events", {"tag": "*"}),
            ("asof", {"tag": "acme/plant1:power", "reference": "acme/plant2:secret", "start": "0", "end": "now"}),
            ("tags", {"pattern": "*"}), ("tags", {"pattern": "*", "kind": "tag"}), ("ledger", {}), ("status", {}),
        ):  # fmt: skip
            headers = {"X-Tenant": "beta", "X-Forwarded-User": "root", "X-Original-URL": "/api/v1/ledger"}
            texts.append((await client.get(f"/api/v1/{path}", params=query, headers=headers)).text)
        for kind in ("last", "range", "count", "names", "events"):
            answer = await client.post("/api/v1/query", json={"kind": kind, "tags": ["*", "beta/*"]})
            texts.append(answer.text)
        assert "acme/plant1:power" in texts[0]
        # What was asked for is said back in an error; nothing else of elsewhere may be there.
        for text in texts:
            assert "plant2" not in text.replace("acme/plant2:secret", "").replace("plant1/../plant2:secret", ""), text
            assert '"secret' not in text, text
            assert "H_LOCAL" not in text, text
        assert (await client.get("/metrics")).status_code == 403


async def raw_status(url: str, head: str) -> bytes:
    """The first line of an answer to a request written by hand."""
    parts = httpx.URL(url)
    reader, writer = await asyncio.open_connection(parts.host, parts.port)
    try:
        writer.write(head.replace("HOST", f"{parts.host}:{parts.port}").replace("\n", "\r\n").encode())
        return (await reader.readline()).strip()
    finally:
        writer.close()
        await writer.wait_closed()


UPGRADE = """GET / HTTP/1.1
Host: HOST
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Sec-WebSocket-Version: 13
Origin: {origin}

"""


@attack("bodies that are huge, malformed, of a form; tokens in addresses; requests of another site's page",
        layer="API (bounded bodies, JSON only, Origin, SameSite); server (allowed origins)")  # fmt: skip
async def test_odd_requests_and_those_of_other_pages_are_refused(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme") as site, site.http() as client:
        await site.add("acme", "ann")
        json_type = {"Content-Type": "application/json"}
        for body in (
            b"x" * 100_000, b"", b"[]", b"null", b"{", b"[" * 8000, b'{"tenant":"acme"}', b"\xff\xfe", b'{"tenant":1}',
            b'{"tenant":"acme","user":"ann","password":"x","admin":true}',
            b'{"tenant":"\\ud800","user":"","password":1}',
        ):  # fmt: skip
            answer = await client.post("/api/v1/login", content=body, headers=json_type)
            assert answer.status_code == 400, (body[:60], answer.text)
        form = await client.post("/api/v1/login", data=login_body("acme", "ann"))
        assert form.status_code == 400
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            answer = await client.post("/api/v1/login", json=login_body("acme", "ann"), headers=headers)
            assert answer.status_code == 403, headers
        token = (await log_in(client, "acme", "ann", as_cookie=False)).json()["token"]
        assert (await log_in(client, "acme", "ann")).status_code == 200  # a cookie
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await client.delete("/api/v1/session", headers=headers)).status_code == 403
        for key in ("", "U", "UABC", new_key("account").public, "U" * 56):
            answer = await client.post("/api/v1/session/credentials", json={"public_key": key})
            assert answer.status_code == 400, key
        async with site.http() as stranger:
            for query in ("token", "access_token", "millstream_session", "authorization"):
                assert (await stranger.get("/api/v1/session", params={query: token})).status_code == 401
            for wrong in (token[:-1], token + "x", "\u00e9", "a" * 5000):
                found = await stranger.get("/api/v1/session", headers={b"Authorization": f"Bearer {wrong}".encode()})
                assert found.status_code == 401
        websocket = site.websocket_url.replace("ws:", "http:")
        assert b"403" in await raw_status(websocket, UPGRADE.format(origin="https://evil.example"))
        assert b"101" in await raw_status(websocket, UPGRADE.format(origin=PAGE))


@attack("a session and NATS credentials of a user that was removed, or has another password",
        layer="API (the user is looked at each time), hub (hangs up)")  # fmt: skip
async def test_who_is_removed_is_out_at_once_and_does_not_come_back(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme") as site, site.http() as ann, site.http() as ben:
        for name in ("ann", "ben"):
            await site.add("acme", name)
        await bearer(site, ann, "acme", "ann")
        await bearer(site, ben, "acme", "ben")
        key, other = new_key("user"), new_key("user")
        nats, others = await nats_of(ann, key), await nats_of(ben, other)
        async with person(site, nats, key) as at_ann, person(site, others, other) as at_ben, site.users() as users:
            await users.remove("acme", "ann")
            async with asyncio.timeout(60):
                await at_ann.is_cut.wait()
            assert (await ann.get("/api/v1/session")).status_code == 401
            assert (await log_in(ann, "acme", "ann")).status_code == 401
            with suppress(ConnectionResetError):  # cut before the answer to its log-in was read
                async with person(site, nats, key) as again, asyncio.timeout(60):
                    await again.is_cut.wait()
            assert at_ben.client.is_connected  # another person's connection of the same account
            await users.set_password("acme", "ben", "another " + PASSWORD)
            async with asyncio.timeout(60):
                await at_ben.is_cut.wait()
            assert (await ben.get("/api/v1/session")).status_code == 401
            await users.add("acme", "ann", PASSWORD, role="viewer", paths=[])
            assert (await ann.get("/api/v1/session")).status_code == 401  # a new user of the old name
        await told(site, "acme", "login_user.removed", name="ann", who="test")
        await told(site, "acme", "session.closed", name="ann", reason="the user was changed or removed")
