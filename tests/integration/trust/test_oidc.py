"""Log-in with an identity provider: npm oidc-provider on loopback, by the authorization code flow with PKCE."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from identity_provider import Idp, idp
from login_site import LoginSite, login_site
from trust_site import until

from millstream.api import create_tenants_app, serve_api
from millstream.kernel import SystemClock, free_port

pytestmark = pytest.mark.needs("oidc-provider")


@asynccontextmanager
async def oidc_site(folder: Path) -> AsyncIterator[tuple[LoginSite, Idp]]:
    """A hub with two tenants that knows the provider, and the provider that knows the hub."""
    port = free_port()
    public = f"http://127.0.0.1:{port}"
    async with idp(f"{public}/api/v1/oidc/corp/callback") as provider:
        secret = folder / "client.secret"
        secret.write_text("hub-secret\n", encoding="ascii")
        rules = [
            {"claim": "groups", "value": "ops", "tenant": "acme", "role": "commander", "paths": ["acme/plant1"]},
            {"claim": "groups", "value": "look", "tenant": "beta", "role": "viewer"},
            {"claim": "groups", "value": "wrong", "tenant": "acme", "role": "viewer", "paths": ["beta"]},
        ]
        corp = {
            "name": "corp", "issuer": provider.issuer, "client_id": "hub", "secret": {"file": str(secret)},
            "rules": rules,
        }  # fmt: skip
        async with login_site(folder, "acme", "beta", oidc=[corp], public_url=public) as site:
            assert site.site.hub.tenants is not None
            app = create_tenants_app(site.site.hub.tenants, clock=SystemClock(), public_url=public)
            async with serve_api(app, port=port):
                yield LoginSite(site.site, public), provider


async def follow(client: httpx.AsyncClient) -> httpx.Response:
    """As a browser does: from the hub to the provider and back, until something is no redirect or is the hub's."""
    answer = await client.get("/api/v1/oidc/corp")
    while answer.is_redirect and answer.headers["location"] != "/":
        answer = await client.get(answer.next_request.url if answer.next_request is not None else "")
    return answer


async def test_groups_of_a_provider_are_roles_and_paths_of_tenants_also_with_its_next_keys(tmp_path: Path) -> None:
    async with oidc_site(tmp_path) as (site, provider):
        async with site.http() as client:
            assert (await client.get("/api/v1/login")).json() == {
                "password": True, "token": False, "oidc": ["corp"],
            }  # fmt: skip
            await provider.set(person={"sub": "17", "preferred_username": "ann", "groups": ["x", "ops"]})
            answer = await follow(client)
            assert (answer.status_code, answer.headers.get("location")) == (303, "/"), answer.text
            assert "samesite=strict" in answer.headers["set-cookie"].lower()
            session = (await client.get("/api/v1/session")).json()
            found = {name: session[name] for name in ("tenant", "user", "role", "paths", "via")}
            assert found == {
                "tenant": "acme", "user": "ann", "role": "commander", "paths": ["acme/plant1"], "via": "oidc:corp",
            }  # fmt: skip
            assert len(await site.site.audit("acme", "session.opened")) == 1
        await provider.set(rotate=1, person={"sub": "18", "groups": ["look"]})
        async with site.http() as client:
            assert (await follow(client)).headers.get("location") == "/"
            session = (await client.get("/api/v1/session")).json()
            assert (session["tenant"], session["user"], session["paths"]) == ("beta", "18", [])


FORGED = {
    "none": "Unsupported", "secret": "Unsupported", "stranger": "nobody known", "audience": "'aud'",
    "audiences": "for others, too", "issuer": "'iss'", "expired": "expired", "old": "is old", "nonce": "'nonce'",
    "changed": "nobody known", "garbage": "DecodeError",
}  # fmt: skip
"""What the provider's process does to its token -> what is said of it."""


async def steal(site: LoginSite, provider: Idp) -> None:
    """Codes in other hands, and people without a rule."""
    async with site.http() as victim, site.http() as attacker:
        await provider.set(person={"sub": "17", "groups": ["ops"]})
        answer = await attacker.get("/api/v1/oidc/corp")
        while not urlsplit(answer.headers["location"]).path.endswith("/callback"):
            answer = await attacker.get(answer.next_request.url if answer.next_request is not None else "")
        callback = answer.headers["location"]
        # the attacker's code in the victim's browser (login CSRF): it did not begin there
        assert (await victim.get(callback)).status_code == 401
        assert (await attacker.get(callback)).status_code == 401  # spent by the attempt
        begun = await victim.get("/api/v1/oidc/corp")
        state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
        spent = parse_qs(urlsplit(callback).query)["code"][0]
        # a code that was made for another verifier
        swapped = await victim.get("/api/v1/oidc/corp/callback", params={"state": state, "code": spent})
        assert swapped.status_code == 401
        for group, code in (("nobody", "MS-2129"), ("wrong", "MS-2129")):
            await provider.set(person={"sub": group, "groups": [group]})
            async with site.http() as other:
                answer = await follow(other)
                assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert (await victim.get("/api/v1/oidc/unknown")).status_code == 404
        assert site.desk.book.sessions() == []


@pytest.mark.attack(
    "forged ID tokens: alg none, a public key as shared secret, another signer, audience, issuer or nonce, expired",
    layer="API (proof of the ID token)",
)
@pytest.mark.attack(
    "a code of another browser, twice, of another log-in; a person without a rule, a rule outside of its tenant",
    layer="API (state, PKCE, rules)",
)
async def test_forged_tokens_and_stolen_codes_of_a_provider_open_nothing(tmp_path: Path) -> None:
    async with oidc_site(tmp_path) as (site, provider):
        await provider.set(person={"sub": "17", "groups": ["ops"]})
        for how, reason in FORGED.items():
            await provider.set(forge=how)
            async with site.http() as client:
                answer = await follow(client)
                assert answer.status_code == 401, (how, answer.text)
                told = answer.json()
                assert (told["code"], reason in f"{told['message']} {told['got']}") == ("MS-2127", True), (how, told)
                assert "set-cookie" not in answer.headers, how
                assert (await client.get("/api/v1/session")).status_code == 401
            assert site.desk.book.sessions() == [], how
        await provider.set(forge="")
        await steal(site, provider)
        await provider.set(person={"sub": "17", "groups": ["ops"]})
        async with site.http() as client:
            assert (await follow(client)).headers.get("location") == "/"

        async def is_told() -> bool:
            return bool(await site.site.audit("", "session.refused"))

        await until(is_told, "the refusals are told to who runs the hub")
