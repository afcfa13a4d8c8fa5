"""A hub of three boxes with tenants: what the operator says holds at each of them, and any of them may go."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from cluster_people import (
    Visitor,
    comes_back_to_others,
    goes_on_and_is_taken_out,
    sees_all_tenants,
    told,
    two_in,
    wait_out,
)
from cluster_site import MEMBERS
from forward_site import Edge, running_edge, until
from identity_provider import Idp, idp
from tenant_cluster import TenantCluster, running_tenants
from trust_site import creds_of, messages_of, now_s

from millstream.bus import node_service
from millstream.edge import join_hub
from millstream.edge._log import LineLog, to_logging
from millstream.edge._new_token import NewToken
from millstream.kernel import SystemClock
from millstream.protocols.uplink_token import tokens_subject
from millstream.trust import edge_token, new_key, note_change, rekey_tenant, restore_site, revoke_site

TENANTS = ("acme", "beta")
BACKLOG = 4_000
PUBLIC_URL = "http://127.0.0.1:1"  # a proxy in front of the boxes: the browser's part sends to any of them


def _corp(folder: Path, provider: Idp) -> dict[str, object]:
    """The identity provider, as the boxes' files have it."""
    secret = folder / "client.secret"
    secret.write_text("hub-secret", encoding="ascii")
    rules = [{"claim": "sub", "value": "vic", "tenant": "acme", "role": "viewer"}]
    return {
        "name": "corp", "issuer": provider.issuer, "client_id": "hub", "secret": {"file": str(secret)}, "rules": rules,
    }  # fmt: skip


async def heard_of_beta(cluster: TenantCluster, beta: Edge, member: str) -> tuple[int, list[str]]:
    """What the hub's own rights in acme's plant let hear at a member, while beta's site sends: how much of its own, and
    the subjects of beta."""
    heard: list[str] = []
    async with cluster.connection(member, "acme") as connection:
        connection.subscribe(">", lambda messages: heard.extend(bytes(m[1]).decode() for m in messages))
        await beta.send(100)
        await cluster.wait_counted("beta", beta.sent)
        connection.publish("uns.v1.acme.mark", b"{}")
        await until(lambda: "uns.v1.acme.mark" in heard, "a message of its own")
    return len(heard), [subject for subject in heard if "beta" in subject]


async def keys_are_replaced(cluster: TenantCluster, beta: Edge, folder: Path, *there: str) -> list[str]:
    """All of beta's, while a member is away: at those that are there the old ones open nothing, and its site goes on
    with the token that it is given. What an old key signed: the site's credentials, and a thief's own."""
    tenant, creds = cluster.operator.trust.tenants["beta"], folder / "secrets" / "uplink.creds"
    thief = new_key("user")
    stolen = edge_token(tenant.plant_public, tenant.roles["edge"], "plant1", "beta/plant1", thief.public, now_s())
    old = [creds.read_text(encoding="ascii"), creds_of(stolen, thief)]
    site = NewToken(creds, SystemClock(), LineLog("plant1", to_logging))
    service = node_service(
        beta.server.url, beta.server.credentials, name="millstream-edge", version="1.0.0", endpoints={},
        asked={"uplink_token": (tokens_subject("plant1"), site.answer)},
    )  # fmt: skip
    async with service:
        await beta.send(100)
        await cluster.wait_counted("beta", beta.sent)  # so it is linked again, if it was to the one that is away
        with cluster.operator.changing() as trust:
            rekey_tenant(tenant, [], now_s())
            note_change(trust, "test", "tenant_rekeyed", "beta", "beta", {}, now_s())
        cluster.hand_over(there[-1])
        await cluster.wait_taken(*there)
        for member in there:
            await refuses(cluster, member, old)
        await beta.send(300)
        await cluster.wait_counted("beta", beta.sent)
    assert creds.read_text(encoding="ascii") not in old
    return old


async def refuses(cluster: TenantCluster, member: str, creds: list[str]) -> None:
    for each in creds:
        await until(lambda each=each: cluster.is_refused(member, each), f"an old key opens nothing at {member}")  # type: ignore[misc]


async def audited(cluster: TenantCluster, member: str) -> list[str]:
    """The operator's acts in acme's audit."""
    async with cluster.connection(member, "acme") as connection:
        found = await messages_of(connection, "H_LOCAL")
    return [m.subject.rpartition(".")[2] for m in found if "audit.operator" in m.subject]


@pytest.mark.needs("oidc-provider")
async def test_tenants_of_a_hub_of_three_lose_nothing_and_a_site_that_is_locked_out_is_so_at_every_member(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(idp(f"{PUBLIC_URL}/api/v1/oidc/corp/callback"))
        login = {"public_url": PUBLIC_URL, "oidc": [_corp(tmp_path, provider)]}
        cluster = await stack.enter_async_context(
            running_tenants(tmp_path, *TENANTS, historian={}, api={}, login=login)
        )
        leader = await cluster.wait_up()
        away, third = (member for member in MEMBERS if member != leader)

        # Sites of the same name join, with the operator's file at one member that does not lead.
        files = {name: cluster.operator.join_file(name, "plant1") for name in TENANTS}
        cluster.hand_over(third)
        await cluster.wait_taken()
        edges = {}
        for name, file in files.items():
            joined = await join_hub(file, tmp_path / name / "plant1")
            first, *others = cluster.leaf_ports.values()
            edge = running_edge(tmp_path / name, first, name="plant1", more_ports=others, hang_s=60.0, tenant=name)
            edges[name] = await stack.enter_async_context(edge)
            if name == "acme":
                key, creds = joined.public, joined.creds_file.read_text(encoding="ascii")
        acme, beta = edges["acme"], edges["beta"]
        await acme.send(500)
        await beta.send(300)
        for name, edge in edges.items():
            await cluster.wait_counted(name, edge.sent)

        # People log in, each at one member: all of them know them.
        ann, bob = await two_in(cluster, leader, away)
        await sees_all_tenants(cluster, leader, away)
        live = await stack.enter_async_context(ann.connected(third))
        await provider.set(person={"sub": "vic"})
        visitor = Visitor(cluster, await stack.enter_async_context(httpx.AsyncClient(timeout=60.0)))
        await visitor.begin(away)

        # Locked out while one member is away; it hears of that when it is back, whatever its own file says.
        await cluster.kill(away)
        old = await keys_are_replaced(cluster, beta, tmp_path / "beta" / "plant1", leader, third)
        await comes_back_to_others(visitor, (leader, third))
        async with bob.at(leader) as client:
            assert (await client.delete("/api/v1/session")).status_code == 200
        await wait_out(bob, third)
        with cluster.operator.changing() as trust:
            revoke_site(trust.tenants["acme"], "plant1", [key], now_s())
        cluster.hand_over(third)
        for member in (leader, third):
            await until(lambda member=member: cluster.is_refused(member, creds), f"locked out at {member}")  # type: ignore[misc]
        await acme.send(BACKLOG)
        await until(lambda: acme.forward.uplink.behind_messages >= BACKLOG, "the site goes on, and keeps it")
        await cluster.start(away)
        await cluster.wait_taken(away)
        assert await cluster.is_refused(away, creds)
        await refuses(cluster, away, old)
        await bob.wait_status(away, 401)
        await cluster.wait_current(away)
        before: list[int] = []

        async def is_told() -> bool:
            before.append((await cluster.account("acme", leader)).get("messages", -1))
            return before[-1] >= 0

        await until(is_told, "the account")
        assert before[-1] < BACKLOG

        # Let in again; who leads is killed while the backlog comes in.
        with cluster.operator.changing() as trust:
            restore_site(trust.tenants["acme"], "plant1", [key])
        cluster.hand_over(away)
        await until(lambda: acme.forward.uplink.behind_messages < BACKLOG - 200, "the backlog comes in")
        await cluster.kill(leader)
        await beta.send(300)
        assert await cluster.wait_up(other_than=leader) != leader
        for name, edge in edges.items():
            await cluster.wait_counted(name, edge.sent)

        # Who had logged in at the one that was killed goes on at the others, with the same token.
        await goes_on_and_is_taken_out(ann, live, (away, third))

        # Tenants do not meet, at no member; and each act of the operator is in the audit once.
        for member in cluster.running:
            own, foreign = await heard_of_beta(cluster, beta, member)
            assert own
            assert foreign == []
        assert await audited(cluster, away) == ["site_added"]
        assert await told(cluster, away, "acme") == [
            "login_user.added ann", "login_user.removed ann", "session.closed ann", "session.opened ann",
            "session.opened vic", "session.refreshed ann", "session.refreshed ann",
        ]  # fmt: skip
