"""People of who runs a hub of tenants: they see how all tenants are, and no way leads on to anything of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from login_site import PASSWORD, LoginSite, bearer, log_in, login_site, nats_of, person
from trust_site import until

from millstream.kernel import ConfigError
from millstream.trust import new_key

attack = pytest.mark.attack
SECRET = "acme/plant1/line:recipe"
OPEN_TO_ALL = ("/health", "/openapi.json", "/api/v1/login", "/api/v1/oidc/")
OF_ANYBODY = ("/api/v1/session", "/api/v1/admin", "/api/v1/provider/")
LOOKS = (("GET", "tenants"), ("GET", "sites"), ("POST", "query"), ("GET", "events"))


async def refused(site: LoginSite, whose: str, **data: Any) -> None:
    """An audit event of a refusal with these values is stored."""

    async def is_told() -> bool:
        return any(data.items() <= event.items() for event in await site.site.audit(whose, "session.refused"))

    await until(is_told, f"a refusal with {data}")


async def routes_of_tenants(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    """Method and address of all that the API describes, but for what everybody has who is logged in."""
    paths: dict[str, dict[str, Any]] = (await client.get("/openapi.json")).json()["paths"]
    return [
        (method.upper(), path.replace("{id}", "c1").replace("{edge}", "plant1").replace("{name}", "r1"))
        for path, methods in paths.items()
        if not path.startswith((*OPEN_TO_ALL, *OF_ANYBODY))
        for method in methods
        if method in ("get", "post", "put", "delete")
    ]


async def test_the_provider_sees_all_tenants_and_their_sites_and_keeps_its_own_people(tmp_path: Path) -> None:
    async with login_site(tmp_path, "acme", "beta", admins=["provider/pat"]) as site, site.http() as pat:
        files = [site.site.operator.join_file(tenant, "plant1") for tenant in ("acme", "beta")]
        await site.site.taken()
        async with site.users() as users:
            for role, paths in (("engineer", []), ("viewer", ["acme"])):
                with pytest.raises(ConfigError, match="look only"):
                    await users.add("provider", "pat", PASSWORD, role=role, paths=paths)
        await site.add("provider", "pat")
        await bearer(site, pat, "provider", "pat")
        me = (await pat.get("/api/v1/session")).json()
        assert (me["tenant"], me["place"], me["role"]) == ("provider", None, "viewer")

        folder = await site.site.join(files[0])
        async with site.site.edge(files[0], folder):

            async def is_up() -> bool:
                sites = (await pat.get("/api/v1/provider/sites")).json()["sites"]
                return [(one["tenant"], one["state"]) for one in sites] == [("acme", "up"), ("beta", "silent")]

            await until(is_up, "acme's site answers, beta's has not joined")

            async def is_linked() -> bool:
                found = (await pat.get("/api/v1/provider/tenants")).json()
                assert [one["name"] for one in found["tenants"]] == ["acme", "beta"]
                return [one["uses"]["sites"]["used"] for one in found["tenants"]] == [1, 0]

            await until(is_linked, "the list has the link of acme's site")
            found = (await pat.get("/api/v1/provider/tenants")).json()
            acme = found["tenants"][0]
            assert (acme["place"], acme["state"], acme["sites"], acme["sites_locked_out"]) == ("acme", "up", 1, 0)
            assert acme["since_s"] == site.site.operator.trust.tenants["acme"].created_s
            uses = acme["uses"]
            limits = site.site.operator.trust.tenants["acme"].limits
            assert {name: one["limit"] for name, one in uses.items()} == {
                "sites": limits.sites, "connections": limits.connections, "disk_bytes": limits.disk_bytes,
                "subscriptions": limits.subscriptions,
            }  # fmt: skip
            assert 0 < uses["connections"]["used"] < 50
            assert 0 < uses["disk_bytes"]["used"] < limits.disk_bytes
            assert (found["trust_serial"], found["hub"]["name"]) == (site.site.operator.trust.serial, "h1")

            question = {"filter": "tenant == 'acme' and link.state != 'cut'", "select": ["tenant", "path"]}
            answer = await pat.post("/api/v1/provider/query", json=question)
            assert answer.json()["nodes"] == [
                {"node": "acme/plant1", "state": "match", "facts": {"tenant": "acme", "path": "acme/plant1"}}
            ]
            assert list(answer.json()["summary"]["missing"]) == ["beta/plant1"]
            for body in ({"filter": "("}, {"filter": "true", "deadline_s": 99}, {"tenant": "acme"}):
                assert (await pat.post("/api/v1/provider/query", json=body)).status_code == 400, body

        added = await pat.post("/api/v1/admin/users/add", json={"name": "kim", "role": "viewer"})
        assert added.status_code == 200, added.text
        for body in ({"role": "engineer"}, {"role": "viewer", "paths": ["acme"]}):
            answer = await pat.post("/api/v1/admin/users/add", json={"name": "eve", **body})
            assert answer.status_code in (400, 403), answer.text
        shown = (await pat.get("/api/v1/admin")).json()
        assert ([one["name"] for one in shown["users"]], shown["roles"]) == (["kim", "pat"], ["viewer"])
        opened = await site.site.audit("", "session.opened")
        assert [(one["name"], one["who"]) for one in opened] == [("pat", "pat")]
        assert [one["name"] for one in await site.site.audit("", "login_user.added")] == ["pat", "kim"]
        told = (await pat.get("/api/v1/provider/events", params={"start": "-1h"})).json()["events"]
        assert {("millstream.audit.session.opened", "pat"), ("millstream.audit.login_user.added", "kim")} <= {
            (one["type"], one["data"].get("name")) for one in told
        }
        assert told == sorted(told, key=lambda one: -one["time_ns"])
        opened = (await pat.get("/api/v1/provider/events", params={"type": "millstream.audit.session.*"})).json()
        assert {one["data"]["tenant"] for one in opened["events"]} == {"provider"}
        async with site.users() as users:
            await users.remove("provider", "pat")

        async def is_out() -> bool:
            return (await pat.get("/api/v1/provider/tenants")).status_code == 401

        await until(is_out, "the session is over")


@attack("a provider reading, writing, commanding or configuring in a tenant, by each route of the API",
        layer="API (the door of a session)")  # fmt: skip
@attack("a provider asking for NATS credentials, whose account has who logs in and how",
        layer="API (none are given), hub (no key for it)")  # fmt: skip
@attack("a provider's administrator looking at, adding, changing or throwing out the people of a tenant",
        layer="API (the session's tenant)")  # fmt: skip
@attack("a tenant's administrator asking for the list of tenants, their sites and what they use",
        layer="API (the session's tenant)")  # fmt: skip
@attack("a tenant's NATS credentials asking for the list of tenants, or for another's status",
        layer="server (imports, publish permission of the role)")  # fmt: skip
async def test_a_provider_gets_at_nothing_of_a_tenant_and_no_tenant_at_the_list(tmp_path: Path) -> None:
    admins = ["provider/pat", "acme/ann"]
    async with login_site(tmp_path, "acme", "beta", admins=admins) as site, site.http() as pat, site.http() as ann:
        await site.publish("acme", SECRET)
        await site.add("provider", "pat")
        await site.add("acme", "ann", role="commander")
        await bearer(site, pat, "provider", "pat")
        await bearer(site, ann, "acme", "ann")

        routes = await routes_of_tenants(pat)
        assert len(routes) > 40
        assert {"/api/v1/query", "/api/v1/last", "/api/v1/tree", "/api/v1/status"} < {path for _, path in routes}
        texts = []
        for method, path in [*routes, ("GET", "/metrics")]:
            for headers in ({}, {"X-Tenant": "acme"}):
                params = {"tag": SECRET, "path": "acme/plant1", "tenant": "acme", "start": "-1h", "end": "now"}
                answer = await pat.request(method, path, params=params, headers=headers, json={})
                assert (answer.status_code, answer.json()["code"]) == (403, "MS-2126"), (method, path, answer.text)
                texts.append(answer.text)
        assert not [text for text in texts if "recipe" in text]
        await refused(site, "", name="pat", reason="a provider may not see or do anything of a tenant's")

        key = new_key("user")
        for answer in (
            await pat.post("/api/v1/session/credentials", json={"public_key": key.public}),
            await log_in(pat, "provider", "pat", public_key=key.public),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "MS-2126")
            assert "jwt" not in answer.text
        shown = (await pat.get("/api/v1/admin")).json()
        assert (shown["sites"], [one["name"] for one in shown["users"]]) == ([], ["pat"])
        theirs = [one.id for one in site.desk.book.sessions() if one.name == "ann"]
        for what, body in (
            ("users/password", {"name": "ann"}), ("users/second-factor", {"name": "ann"}),
            ("users/remove", {"name": "ann"}), ("sessions/end", {"id": theirs[0]}),
        ):  # fmt: skip
            assert (await pat.post(f"/api/v1/admin/{what}", json=body)).status_code == 404, what
        for name in ("acme/eve", "../acme/eve"):
            assert (await pat.post("/api/v1/admin/users/add", json={"name": name, "role": "viewer"})).status_code == 400

        for method, what in LOOKS:
            answer = await ann.request(method, f"/api/v1/provider/{what}", params={"tenant": "provider"}, json={})
            assert (answer.status_code, answer.json()["code"]) == (403, "MS-2126"), answer.text
            assert "beta" not in answer.text
            async with site.http() as nobody:
                assert (await nobody.request(method, f"/api/v1/provider/{what}", json={})).status_code == 401
        await refused(site, "acme", name="ann", reason="a commander may not see the list of tenants")
        nats = await nats_of(ann, key)
        async with person(site, nats, key) as at_ann:
            for subject in (
                "tenant.beta.millstream.node.h1.status", "tenant.acme.millstream.node.h1.status",
                "$JS.API.STREAM.INFO.P_LOGIN", "JSP.API.STREAM.INFO.P_LOGIN", "millstream.login.attempt",
            ):  # fmt: skip
                assert await at_ann.outcome(subject) == "violation", subject
            said = json.loads((await at_ann.client.request("millstream.node.h1.status", b"", timeout=60)).data)
            assert said["tenant"] == "acme"
            assert "tenants" not in said
        async with site.http() as client:  # still who it was
            assert (await log_in(client, "acme", "ann")).status_code == 200
