"""Attempts to get in, each against a real hub in operator mode; each must fail, and leave an audit event.

``docs/reference/attacks.md`` is generated from the marks here: what was tried, and which layer refused it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout
from trust_site import (
    RawLeaf,
    Site,
    client_of,
    creds_of,
    hub_client,
    joined_edge,
    now_s,
    told,
    trusted_hub,
    until,
)

from millstream.bus import Credentials, connect_nats, join_subject
from millstream.edge import join_hub
from millstream.kernel import AuthError, ConfigError, PlantError
from millstream.protocols.nats_jwt import KeyPair, parse_creds, sign_claims
from millstream.trust import (
    Role,
    add_site,
    add_tenant,
    edge_token,
    make_bundle,
    make_request,
    new_key,
    parse_join_file,
    revoke_user,
)

attack = pytest.mark.attack


async def refused(site: Site, creds: Path) -> None:
    """These credentials do not open the door."""
    with pytest.raises(AuthError):
        async with client_of(site, creds):
            pass


def written(site: Site, text: str, name: str = "attack.creds") -> Path:
    """A creds file."""
    path = site.operator.folder / name
    path.write_text(text, encoding="ascii")
    return path


def seed_of(path: Path) -> tuple[str, KeyPair]:
    """Token and key of a creds file."""
    return parse_creds(path.read_text(encoding="ascii"), where=str(path))


# -- joining -----------------------------------------------------------------------------------------------------------


@attack("a stolen join file, after its box has joined", layer="registrar (one key a file)")
async def test_a_join_file_is_good_for_one_box(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        file = site.operator.join_file("acme", "plant1")
        await site.taken()
        await site.join(file)
        await site.join(file)  # the same box again, killed before it had the answer: the same answer
        with pytest.raises(AuthError, match="used already"):
            await join_hub(file, tmp_path / "thief")
        await told(site, "acme", "join.refused", site="plant1")
        assert not (tmp_path / "thief" / "secrets" / "uplink.creds").exists()


@attack("a join file after its time", layer="server (token expired)")
async def test_an_expired_join_file_opens_nothing(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        file = site.operator.join_file("acme", "plant1", expires_s=1)
        await site.taken()
        await asyncio.sleep(max(0.0, file.expires_s + 1 - time.time()))
        with pytest.raises(AuthError, match="does not open"):
            await join_hub(file, tmp_path / "late")
        await told(site, "acme", "login.refused", name="join plant1")


@attack("joining as another site than the file's", layer="server (publish permission of the bearer's key)")
async def test_a_join_file_asks_for_its_own_site_only(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        file = site.operator.join_file("acme", "plant1")
        site.operator.join_file("acme", "plant2")
        await site.taken()
        bearer = parse_creds(file.creds, where="test")[1].public
        mine = new_key("user")
        async with hub_client(site, "acme") as hub, RawLeaf(site.leaf_port, file.creds) as leaf:
            heard: list[str] = []

            async def note(message: Msg) -> None:
                heard.append(message.subject)

            await hub.subscribe("millstream.join.>", cb=note)
            await hub.flush()
            for other in (join_subject("plant2", bearer), join_subject("plant1", new_key("user").public)):
                async with RawLeaf(site.leaf_port, file.creds) as one:  # the server hangs up on it
                    one.publish(other, make_request(mine, "plant2", bearer).decode(), "_INBOX.join-plant1.x")
                    assert not await one.read("never")
            leaf.publish(join_subject("plant1", bearer), "not a request", "_INBOX.join-plant1.x")
            await until(lambda: join_subject("plant1", bearer) in heard, "what the bearer may ask")
            assert heard == [join_subject("plant1", bearer)]
        await told(site, "acme", "join.refused", site="plant1")
        await told(site, "acme", "permission.refused", subject=join_subject("plant2", bearer), name="join plant1")


@attack("a token for somebody else's key", layer="registrar (the key signs the request)")
async def test_a_request_that_its_key_did_not_sign_is_refused(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        file = site.operator.join_file("acme", "plant1")
        await site.taken()
        bearer = parse_creds(file.creds, where="test")[1].public
        request = msgspec.json.decode(make_request(new_key("user"), "plant1", bearer))
        request["public"] = new_key("user").public
        async with hub_client(site, "acme") as hub:  # even with the hub's own rights
            answer = await hub.request(join_subject("plant1", bearer), msgspec.json.encode(request), timeout=60)
        assert b"MS-2104" in answer.data
        await told(site, "acme", "join.refused", site="plant1")


# -- tokens ------------------------------------------------------------------------------------------------------------


@attack("an expired token", layer="server (token expired)")
async def test_an_expired_token_does_not_log_in(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        creds = site.operator.user("acme", "ann", "viewer", expires_s=-10)
        await site.taken()
        await refused(site, creds)
        await told(site, "acme", "login.refused", name="ann")


@attack("a token that the attacker signed", layer="server (issuer unknown)")
async def test_a_forged_token_does_not_log_in(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        tenant, key = site.operator.tenant("acme"), new_key("user")
        token = edge_token(tenant.plant_public, new_key("account").seed, "plant1", "acme/plant1", key.public, now_s())
        await refused(site, written(site, creds_of(token, key)))
        await told(site, "acme", "login.refused", name="plant1")


@attack("a token changed after it was signed", layer="server (signature)")
async def test_a_changed_token_does_not_log_in(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme", "beta") as site:
        token, key = seed_of(site.operator.user("acme", "ann", "viewer"))
        await site.taken()
        head, _, signature = token.split(".")
        claims = sign_claims(
            {"sub": key.public, "name": "ann", "nats": {"type": "user", "version": 2,
             "issuer_account": site.operator.tenant("beta").people_public}}, new_key("account"), now_s(),
        ).split(".")[1]  # fmt: skip
        await refused(site, written(site, creds_of(f"{head}.{claims}.{signature}", key)))
        await told(site, "beta", "login.refused", name="ann")


@attack("a token without its key", layer="server (nonce signature)")
async def test_a_token_without_its_key_does_not_log_in(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        token, _ = seed_of(site.operator.user("acme", "ann", "viewer"))
        await site.taken()
        await refused(site, written(site, creds_of(token, new_key("user"))))
        await told(site, "acme", "login.refused", name="ann")


@attack("a role's token signed with another role's key", layer="server (scope of the signing key)")
async def test_rights_written_into_a_scoped_token_do_not_count(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        tenant, key = site.operator.tenant("acme"), new_key("user")
        await site.taken()
        nats = {"type": "user", "version": 2, "issuer_account": tenant.people_public, "pub": {"allow": [">"]}}
        token = sign_claims({"sub": key.public, "name": "x", "nats": nats}, KeyPair(tenant.roles["viewer"]), now_s())
        await refused(site, written(site, creds_of(token, key)))
        await told(site, "acme", "login.refused", name="x")


@attack("a user that was revoked", layer="server (revocation)")
async def test_a_revoked_user_is_thrown_out_and_does_not_come_back(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        creds = site.operator.user("acme", "ann", "viewer")
        await site.taken()
        client = await connect_nats(site.hub.server.url, Credentials(creds_file=creds))
        try:
            with site.operator.changing():
                revoke_user(site.operator.tenant("acme"), "ann", now_s())
            await until(lambda: not client.is_connected, "the user is out")
        finally:
            await client.close()
        await refused(site, creds)
        await told(site, "acme", "login.refused", name="ann")


@attack("an older trust file put back, to undo a revocation", layer="hub (serial of the trust file)")
async def test_an_older_trust_file_is_not_taken(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        creds = site.operator.user("acme", "ann", "viewer")
        await site.taken()
        old = site.operator.hub_file.read_text(encoding="ascii")
        with site.operator.changing():
            revoke_user(site.operator.tenant("acme"), "ann", now_s())
        await site.taken()
        site.operator.hub_file.write_text(old, encoding="ascii")
        tenants = site.hub.tenants
        assert tenants is not None
        await until(lambda: any("older" in alarm.message for alarm in tenants.alarms), "the alarm")
        await refused(site, creds)
        await told(site, "", "trust.refused")


@attack("a trust file of another operator", layer="hub (the operator's key)")
async def test_a_trust_file_of_another_operator_is_not_taken(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        from millstream.trust import Limits, make_trust

        other = make_trust("evil", "nats://x:1", now_s())
        other.serial = 1000
        add_tenant(other, "acme", None, Limits(), now_s())
        site.operator.hub_file.write_text(make_bundle(other, now_s()), encoding="ascii")
        tenants = site.hub.tenants
        assert tenants is not None
        await until(lambda: any("another operator" in alarm.message for alarm in tenants.alarms), "the alarm")
        assert tenants.trust.operator_public == site.operator.trust.operator_public
        await told(site, "", "trust.refused")


# -- subjects ----------------------------------------------------------------------------------------------------------


@attack("a site publishing live values as another", layer="server (publish permission of the site)")
async def test_a_site_cannot_speak_for_another(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        creds = await joined_edge(site, "acme", "plant1")
        async with hub_client(site, "acme") as hub, RawLeaf(site.leaf_port, creds) as leaf:
            heard: list[str] = []

            async def note(message: Msg) -> None:
                heard.append(message.subject)

            await hub.subscribe(">", cb=note)
            await hub.flush()
            forbidden = (
                "live.uns.v1.acme.plant2._tag.n", "live.uns.v1.beta.plant1._tag.n", "uns.v1.acme.plant1._tag.n",
                "millstream.node.plant2.write", "millstream.node.plant2.command", "millstream.fleet.answer.plant2.x",
                "$KV.trust.join.x", "$KV.contracts.x", "dlq.hub.x", "flow.control.x",
            )  # fmt: skip
            for subject in forbidden:
                async with RawLeaf(site.leaf_port, creds) as one:  # the server hangs up on the first
                    one.publish(subject)
                    assert not await one.read("never")
            leaf.publish("live.uns.v1.acme.plant1._tag.n")
            await until(lambda: "live.uns.v1.acme.plant1._tag.n" in heard, "its own value")
            assert not [subject for subject in heard if subject in forbidden]
        await told(site, "acme", "permission.refused", subject="millstream.node.plant2.write")


@attack(
    "a site listening to replies and to other sites ($SYS, $JS.API, _INBOX, uns, live), one by one or by wildcards",
    layer="server (subscribe permission of the site), hub (hangs up on wildcards that no edge's server sends)",
)
async def test_a_site_cannot_listen_to_what_is_not_its_own(tmp_path: Path) -> None:
    wider = (">", "_INBOX.>", "$JS.>", "millstream.>", "millstream.node.>", "millstream.node.*.write")
    apart = (
        "_INBOX.hub.>", "_R_.>", "uns.>", "live.>", "$SYS.>", "$JS.API.>", "$KV.>", "$JS.plant2.API.>",
        "millstream.join.>", "millstream.node.plant2.>",
    )  # fmt: skip
    single = (
        "_INBOX.hub.x", "$SYS.REQ.SERVER.PING", "$JS.API.INFO", "$JS.plant2.API.INFO", "millstream.node.plant2.write",
        "live.uns.v1.acme.x",
    )  # fmt: skip
    async with trusted_hub(tmp_path, "acme") as site:
        creds = await joined_edge(site, "acme", "plant1")
        async with hub_client(site, "acme") as hub, RawLeaf(site.leaf_port, creds) as leaf:
            await leaf.listen(*wider, "millstream.node.plant1.>")
            async with RawLeaf(site.leaf_port, creds) as other:  # the hub hangs up on it
                await other.listen(*apart, "$KV.config.* workers 1")
                for subject in (*single, "uns.v1.acme.x", "millstream.join.plant2.x", "$KV.config.x"):
                    await hub.publish(subject, b"secret")
                await hub.publish("millstream.node.plant1.mine", b"mine")
                await hub.flush()
                assert not await other.read("secret")
            for subject in single:
                async with RawLeaf(site.leaf_port, creds) as one:  # the server hangs up
                    one.send(f"LS+ {subject}")
                    assert not await one.read("never")
            assert await leaf.read("millstream.node.plant1.mine")
            assert not [line for line in leaf.lines if "secret" in line]
        with pytest.raises(AuthError):  # the same credentials at another door
            async with client_of(site, written(site, creds)):
                pass

        async def are_told() -> bool:
            found = await site.audit("acme", "permission.refused")
            assert all(one["count"] == 1 for one in found)
            return {*wider, *apart, "$KV.config.*", *single} <= {
                one["subject"] for one in found if one["name"] == "plant1"
            }

        await until(are_told, "an audit event for each of them, with who it was")
        await told(site, "acme", "login.refused", name="plant1")


@attack(
    "a stored message aimed at another site's command handler by a reply subject", layer="node (Nats-Stream header)"
)
async def test_a_stored_message_is_no_request(tmp_path: Path) -> None:
    from millstream.bus import node_service

    async with trusted_hub(tmp_path, "acme") as site:
        assert site.hub.tenants is not None
        creds = Credentials(creds_file=site.hub.tenants.creds_dir / "acme.creds")
        done: list[bytes] = []

        async def act(payload: bytes) -> object:
            done.append(payload)
            return {}

        async with (
            node_service(
                site.hub.server.url,
                creds,
                name="x",
                version="0.1",
                endpoints={},
                asked={"do": ("millstream.node.p2.write", act)},
            ),
            hub_client(site, "acme") as hub,
        ):
            await hub.request("uns.v1.acme.evil._event.x", b"stored", timeout=60)
            await hub.publish(
                "$JS.API.DIRECT.GET.H_LOCAL.uns.v1.acme.evil._event.x", b"", reply="millstream.node.p2.write"
            )
            await hub.flush()
            await hub.request("millstream.node.p2.write", b"asked", timeout=60)
            assert done == [b"asked"]


@attack("subscribing across tenants with wildcards", layer="server (accounts)")
async def test_a_tenants_person_hears_nothing_of_another(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme", "beta") as site:
        creds = site.operator.user("acme", "ann", "commander")
        await site.taken()
        async with client_of(site, creds) as ann, hub_client(site, "beta") as beta, hub_client(site, "acme") as acme:
            heard: list[bytes] = []

            async def note(message: Msg) -> None:
                heard.append(message.data)

            for subject in (">", "live.>", "uns.>", "*.uns.v1.beta.>", "$SYS.>", "_INBOX.>", "live.uns.v1.>"):
                await ann.subscribe(subject, cb=note)
            await ann.flush()
            for subject in ("live.uns.v1.beta.x", "uns.v1.beta.x", "_INBOX.hub.x", "millstream.node.p.status"):
                await beta.publish(subject, b"secret")
            await beta.flush()
            await acme.publish("_INBOX.hub.other", b"secret")

            async def is_heard() -> bool:  # live values are not stored: one may be missed
                await acme.publish("live.uns.v1.acme.x", b"mine")
                return b"mine" in heard

            await until(is_heard, "the own tenant's value")
            assert b"secret" not in heard
        await told(site, "acme", "permission.refused", subject="$SYS.>")


@attack("a viewer writing, commanding, making consumers, reading keys", layer="server (publish permission, imports)")
async def test_a_viewer_may_only_look(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        creds = site.operator.user("acme", "ann", "viewer")
        await site.taken()
        async with client_of(site, creds) as ann, hub_client(site, "acme") as hub:
            heard: list[str] = []

            async def note(message: Msg) -> None:
                heard.append(message.subject)

            await hub.subscribe(">", cb=note)
            await hub.flush()
            for subject in (
                "millstream.node.plant1.write", "millstream.node.plant1.command", "uns.v1.acme.x", "live.uns.v1.acme.x",
                "$JS.API.CONSUMER.CREATE.H_INTEGRITY", "JSP.API.CONSUMER.CREATE.H_INTEGRITY", "$KV.trust.join.x",
                "$JS.API.STREAM.DELETE.H_LOCAL", "JSP.API.DIRECT.GET.KV_trust", "$JS.API.DIRECT.GET.KV_trust",
                "$SYS.REQ.CLAIMS.LIST", "$SYS.REQ.USER.INFO.x",
            ):  # fmt: skip
                await ann.publish(subject, b"x", reply="_INBOX.x")
            # An answer of JetStream aimed at a handler in the plant: it stays in the account of people.
            await ann.publish("JSP.API.STREAM.INFO.H_LOCAL", b"", reply="millstream.node.plant1.write")
            await ann.flush()
            await hub.publish("uns.end", b"")
            await until(lambda: "uns.end" in heard, "the end")
            assert not [s for s in heard if s.startswith(("millstream.node.plant1", "uns.v1", "live", "$KV"))]
        await told(site, "acme", "permission.refused", subject="millstream.node.plant1.write")


ROLES: tuple[Role, ...] = ("viewer", "engineer", "commander", "flow", "bridge")
SYSTEM = ("$SYS.REQ.CLAIMS.LIST", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.CLAIMS.UPDATE")
JETSTREAM = (
    "$JS.API.STREAM.CREATE.EVIL", "$JS.API.STREAM.DELETE.H_LOCAL", "$JS.API.DIRECT.GET.KV_trust",
    "$JS.API.STREAM.MSG.GET.KV_trust", "$JS.API.CONSUMER.CREATE.KV_config",
)  # fmt: skip
OTHERS_REPLIES = ("$SYS.>", "$JS.API.>", "_INBOX.>", "_INBOX.hub.>", "_R_.>", "millstream.>")


@attack("asking the server itself ($SYS) as a viewer, an engineer, a commander, a worker of flows, a bridge or a site",
        layer="server (publish permission of the role, accounts)")  # fmt: skip
@attack("asking JetStream ($JS.API) for streams, consumers and keys that are not the role's, by each role and a site",
        layer="server (publish permission of the role)")  # fmt: skip
@attack("listening to the replies of others (_INBOX, _R_), to $SYS and to $JS.API, by each role",
        layer="server (subscribe permission of the role)")  # fmt: skip
async def test_no_role_reaches_the_system_others_replies_or_what_is_not_its_own(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        leaf = await joined_edge(site, "acme", "plant1")
        creds = {role: site.operator.user("acme", f"a-{role}", role) for role in ROLES}
        await site.taken()
        heard: list[bytes] = []

        async def note(message: Msg) -> None:
            heard.append(message.data)

        async with hub_client(site, "acme") as hub:
            for path in creds.values():
                async with client_of(site, path) as client:
                    with pytest.raises(NatsTimeout):  # the server says no to who asks, and nothing comes back
                        await client.request(SYSTEM[0], b"", timeout=0.2)
                    for subject in (*SYSTEM, *JETSTREAM):
                        await client.publish(subject, b"{}", reply="_INBOX.x")
                    for subject in OTHERS_REPLIES:
                        await client.subscribe(subject, cb=note)
                    await client.flush()
                    await hub.publish("_INBOX.hub.secret", b"secret")
                    await hub.publish("millstream.node.plant1.secret", b"secret")
                    await hub.flush()
                    await client.flush()
            for subject in (*SYSTEM[:2], *JETSTREAM[:2]):
                async with RawLeaf(site.leaf_port, leaf) as one:  # the server hangs up
                    one.publish(subject)
                    assert not await one.read("never")
            assert heard == []
            assert "EVIL" not in [info.config.name for info in await hub.jetstream().streams_info()]
        keys = {role: seed_of(path)[1].public for role, path in creds.items()}
        wanted = {(key, subject) for key in keys.values() for subject in (*SYSTEM, *JETSTREAM, *OTHERS_REPLIES)}
        wanted |= {("plant1", subject) for subject in (*SYSTEM[:2], *JETSTREAM[:2])}

        async def are_told() -> bool:
            found = await site.audit("acme", "permission.refused")
            return wanted <= {(one[by], one["subject"]) for one in found for by in ("key", "name")}

        await until(are_told, "an audit event for each of them, with who it was")


@attack("exhausting the hub: more connections than the tenant may have", layer="server (limits of the account)")
async def test_a_tenant_cannot_take_all_connections(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path) as site:
        from millstream.trust import Limits

        with site.operator.changing() as trust:
            tenant = add_tenant(trust, "small", None, Limits(connections=6, disk_bytes=1 << 30), now_s())
        await site.ready("small")
        creds = site.operator.user(tenant.name, "ann", "viewer")
        await site.taken()
        clients: list[Client] = []

        async def connect_many() -> None:
            for _ in range(8):
                clients.append(await connect_nats(site.hub.server.url, Credentials(creds_file=creds)))  # noqa: PERF401

        try:
            with pytest.raises(PlantError):
                await connect_many()
            assert 0 < len(clients) <= 6
        finally:
            for client in clients:
                await client.close()


# -- names and files ---------------------------------------------------------------------------------------------------

BAD_NAMES = (
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a.b",
    "*",
    ">",
    "a b",
    "hub",
    "SYS",
    "x" * 65,
    "a\n",
    "é",
    "-x",
    "$x",
    "{{name()}}",
)


@attack("path and subject tricks in names of tenants, sites and users", layer="operator (rules of names)")
@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_paths_or_subjects_are_refused(name: str) -> None:
    from millstream.trust import Limits, add_user, make_trust

    trust = make_trust("op", "nats://x:1", 1)
    tenant = add_tenant(trust, "acme", None, Limits(), 1)
    with pytest.raises(ConfigError):
        add_tenant(trust, name, "elsewhere", Limits(), 1)
    with pytest.raises(ConfigError):
        add_site(tenant, name, "acme/x", {}, 2, 1)
    with pytest.raises(ConfigError):
        add_user(tenant, name, "viewer", None, 1)


@attack("a site outside its tenant's place, a tenant inside another's", layer="operator (rules of places)")
@pytest.mark.parametrize("place", ["beta/x", "acmex/y", "acme", "/", "acme/../beta", "acme//x", ">"])
def test_places_do_not_overlap(place: str) -> None:
    from millstream.trust import Limits, make_trust

    trust = make_trust("op", "nats://x:1", 1)
    tenant = add_tenant(trust, "acme", "acme", Limits(), 1)
    if place != "acme":
        with pytest.raises(ConfigError):
            add_site(tenant, "s", place, {}, 2, 1)
    with pytest.raises(ConfigError):
        add_tenant(trust, "other", "acme/inner", Limits(), 1)


@attack("a join file that is none: huge, malformed, of another version", layer="edge (codec)")
@pytest.mark.parametrize("text", ["", "{}", "[]", "x" * 300_000, '{"format": "other"}', "\x00"])
def test_a_malformed_join_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_join_file(text, where="test")
