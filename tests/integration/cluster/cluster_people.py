"""People who log in at a hub of three boxes, each by the API of any of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from forward_site import until
from nats.aio.client import Client
from tenant_cluster import TenantCluster
from trust_site import DEADLINE_S, creds_of, messages_of

from millstream.client import login_users
from millstream.kernel import PlantError
from millstream.protocols.nats_jwt import KeyPair
from millstream.trust import new_key

PASSWORD = "correct horse battery staple"


@dataclass
class Somebody:
    """Who has logged in once, and goes on with the same token wherever."""

    cluster: TenantCluster
    tenant: str
    name: str
    key: KeyPair = field(default_factory=lambda: new_key("user"))
    token: str = ""
    nats: dict[str, Any] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def at(self, member: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the API of one box."""
        node = json.loads((self.cluster.folder / member / "node.json").read_text(encoding="utf-8"))
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with httpx.AsyncClient(base_url=node["api_url"], timeout=DEADLINE_S, headers=headers) as client:
            yield client

    async def log_in(self, member: str, *, has_key: bool = True) -> None:
        """With the password, and a key for NATS."""
        body = {"tenant": self.tenant, "user": self.name, "password": PASSWORD, "as_cookie": False}
        body |= {"public_key": self.key.public} if has_key else {}

        async def is_in() -> bool:
            async with self.at(member) as client:
                answer = await client.post("/api/v1/login", json=body)
            assert answer.status_code in (200, 401, 503), answer.text  # the member may not have heard of the user yet
            if answer.status_code == 200:
                self.token, self.nats = answer.json()["token"], answer.json().get("nats", {})
            return bool(self.token)

        await until(is_in, f"{self.name} is in")

    async def get(self, member: str, path: str, **query: str) -> tuple[int, Any]:
        """Status and body of an answer; 503 also while a member that starts has no API yet."""
        with contextlib.suppress(KeyError):
            async with self.at(member) as client:
                answer = await client.get(f"/api/v1/{path}", params=query)
            return answer.status_code, answer.json()
        return 503, None

    async def wait_status(self, member: str, status: int, path: str = "session", **query: str) -> Any:
        """Wait while a member says that it cannot answer; then it must be this status."""
        found: list[Any] = []

        async def is_answered() -> bool:
            found[:] = await self.get(member, path, **query)
            return bool(found[0] != 503)

        await until(is_answered, f"an answer of {member}")
        assert found[0] == status, found[1]
        return found[1]

    @contextlib.asynccontextmanager
    async def connected(self, member: str) -> AsyncIterator[Client]:
        """By NATS at one box; what is cut is not connected again."""
        creds = self.cluster.folder / f"{self.name}.creds"
        creds.write_text(creds_of(self.nats["jwt"], self.key), encoding="ascii")
        client = Client()
        await client.connect(
            self.cluster.url(member), user_credentials=str(creds), allow_reconnect=False, error_cb=_quiet,
            inbox_prefix=self.nats["inbox_prefix"].encode(),
        )  # fmt: skip
        try:
            yield client
        finally:
            await client.close()


async def _quiet(error: Exception) -> None:
    """What the server says as it hangs up."""


async def add(cluster: TenantCluster, member: str, tenant: str, name: str, role: str = "engineer") -> Somebody:
    """Add a person by `millstream login` at one box."""

    async def is_added() -> bool:
        with contextlib.suppress(PlantError):
            async with login_users(cluster.folder / member, "test") as users:
                await users.add(tenant, name, PASSWORD, role=role, paths=[])
            return True
        return False

    await until(is_added, f"{name} is added")
    return Somebody(cluster, tenant, name)


async def publish(cluster: TenantCluster, member: str, tenant: str, value: int) -> None:
    """A value of `<tenant>/hub:n`, at one box."""

    async def is_stored() -> bool:
        with contextlib.suppress(PlantError):
            async with cluster.connection(member, tenant) as connection:
                payload = json.dumps({"timestamp_ms": 1_700_000_000_000 + value, "value": value}).encode()
                answer = await connection.request(f"uns.v1.{tenant}.hub._tag.n", payload, timeout_s=2.0)
            return b'"seq"' in bytes(answer[4])
        return False

    await until(is_stored, f"{value} is stored")


async def has_value(who: Somebody, member: str, value: int) -> bool:
    """Whether one sees this value of `acme/hub:n` at a box."""
    status, answer = await who.get(member, "last", tag="acme/hub:n")
    return status == 200 and any(row["value"] == value for row in answer["data"])  # none while it has no row yet


async def wait_out(who: Somebody, *members: str) -> None:
    """Wait until these boxes let somebody in no longer."""

    async def is_out() -> bool:
        return [(await who.get(member, "session"))[0] for member in members] == [401] * len(members)

    await until(is_out, f"{who.name} is out")


@dataclass
class Visitor:
    """A browser on its way to log in with an identity provider; a proxy sends it to any box."""

    cluster: TenantCluster
    client: httpx.AsyncClient
    callback: str = ""

    def _url(self, member: str, path: str) -> str:
        return json.loads((self.cluster.folder / member / "node.json").read_text(encoding="utf-8"))["api_url"] + path

    async def begin(self, member: str) -> None:
        """Go from a box to the provider, and be sent back."""
        answer = await self.client.get(self._url(member, "/api/v1/oidc/corp"))
        while "/callback" not in (location := answer.headers["location"]):
            answer = await self.client.get(answer.url.join(location))
        parts = urlsplit(location)
        self.callback = f"{parts.path}?{parts.query}"

    async def come_back(self, *members: str) -> list[httpx.Response]:
        """To these at once."""
        return await asyncio.gather(*(self.client.get(self._url(member, self.callback)) for member in members))

    async def wait_in(self, member: str) -> None:
        """Wait until this box knows it too."""

        async def is_in() -> bool:
            answer = await self.client.get(self._url(member, "/api/v1/session"))
            return answer.status_code == 200 and bool(answer.json()["via"] == "oidc:corp")

        await until(is_in, f"logged in at {member}")


async def comes_back_to_others(visitor: Visitor, members: tuple[str, str]) -> None:
    """The box where it began is gone: at the others it is let in once, also by two that it asks at once."""
    answers = await visitor.come_back(*members)
    assert sorted(answer.status_code for answer in answers) == [303, 401], [answer.text for answer in answers]
    refused = next(answer.json() for answer in answers if answer.status_code == 401)
    assert (refused["code"], "was not begun here, or is over" in refused["message"]) == ("MS-2127", True), refused
    for member in members:
        await visitor.wait_in(member)
        assert [answer.status_code for answer in await visitor.come_back(member)] == [401]


async def two_in(cluster: TenantCluster, first: str, second: str) -> tuple[Somebody, Somebody]:
    """Ann of acme has logged in at one box, and Bob of beta at another; all boxes know both, and neither sees the
    other's plant."""
    ann, bob = await add(cluster, second, "acme", "ann"), await add(cluster, first, "beta", "bob")
    await publish(cluster, second, "acme", 1)
    await ann.log_in(first)
    await bob.log_in(second)
    for member in cluster.running:
        await until(lambda member=member: has_value(ann, member, 1), f"the value at {member}")  # type: ignore[misc]
        assert (await ann.wait_status(member, 200))["user"] == "ann"
        assert (await ann.wait_status(member, 200, "status"))["node"]["tenant"] == "acme"
        await bob.wait_status(member, 404, "last", tag="acme/hub:n")
    return ann, bob


async def sees_all_tenants(cluster: TenantCluster, first: str, second: str) -> None:
    """Pat of who runs the hub has logged in at one box: at each, leading or not, the same tenants and sites."""
    pat = await add(cluster, second, "provider", "pat", "viewer")
    await pat.log_in(first, has_key=False)
    for member in cluster.running:

        async def is_shown(member: str = member) -> bool:
            found = await pat.wait_status(member, 200, "provider/tenants")
            told = [(one["name"], one["state"], one["uses"]["sites"]["used"]) for one in found["tenants"]]
            return told == [("acme", "up", 1), ("beta", "up", 1)]

        await until(is_shown, f"both tenants with their sites at {member}")
        found = await pat.wait_status(member, 200, "provider/tenants")
        limit = cluster.operator.trust.tenants["acme"].limits.disk_bytes
        assert found["tenants"][0]["uses"]["disk_bytes"]["limit"] == limit
        sites = (await pat.wait_status(member, 200, "provider/sites"))["sites"]
        assert [(one["tenant"], one["name"]) for one in sites] == [("acme", "plant1"), ("beta", "plant1")]
        await pat.wait_status(member, 403, "last", tag="acme/hub:n")


async def goes_on_and_is_taken_out(who: Somebody, live: Client, members: tuple[str, str]) -> None:
    """The boxes that are left: the same token and the same link go on there, until somebody is taken out at one."""
    first, second = members
    await publish(who.cluster, first, "acme", 2)
    for member in members:
        await until(lambda member=member: has_value(who, member, 2), f"the newer value at {member}")  # type: ignore[misc]
    async with who.at(second) as client:
        answer = await client.post("/api/v1/session/credentials", json={"public_key": who.key.public})
        assert answer.status_code == 200, answer.text
    assert live.is_connected
    async with login_users(who.cluster.folder / first, "test") as users:
        await users.remove(who.tenant, who.name)
    await wait_out(who, *members)
    await until(lambda: live.is_closed, "the link is cut")


async def told(cluster: TenantCluster, member: str, tenant: str) -> list[str]:
    """Of people, what a tenant's audit says: what became of whom, but for what was refused."""
    async with cluster.connection(member, tenant) as connection:
        events = [one for one in await messages_of(connection, "H_LOCAL") if _is_of_people(one.subject)]
    return sorted(f"{one.subject.rpartition('audit.')[2]} {json.loads(one.payload)['name']}" for one in events)


def _is_of_people(subject: str) -> bool:
    return ("audit.session" in subject or "audit.login_user" in subject) and not subject.endswith("refused")
