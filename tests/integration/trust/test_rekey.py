"""A tenant's signing keys are replaced: what the old ones sign opens nothing, sites go on, the other tenant notices
nothing."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from test_audit_of_acts import KeysInMemory
from test_tenants import counted, values
from trust_site import Site, client_of, creds_of, now_s, told, trusted_hub, until

from millstream.bus import Credentials, connect_nats
from millstream.cli import _rekey
from millstream.client import connect
from millstream.edge import join_hub
from millstream.kernel import AuthError, ConfigError
from millstream.protocols.nats_jwt import KeyPair, parse_creds, sign_claims
from millstream.trust import KEY_NAMES, edge_token, new_key, owner_claims, rekey_tenant, signing_keys, user_claims

attack = pytest.mark.attack


def forged_with(site: Site, seeds: dict[str, str], plant: str, people: str) -> dict[str, Path]:
    """Credentials of one's own, each signed by a key that leaked."""
    found = {}
    for name, seed in seeds.items():
        key = new_key("user")
        if name == "edge":
            token = edge_token(plant, seed, "plant1", "acme/plant1", key.public, now_s())
        elif name == "account":
            token = sign_claims(owner_claims(key.public, "hub", plant), KeyPair(seed), now_s())
        else:
            account = people if name in ("viewer", "commander") else plant
            token = sign_claims(
                user_claims(key.public, name, account, tags=[("role", name)], expires_s=None), KeyPair(seed), now_s()
            )  # fmt: skip
        found[name] = site.operator.folder / f"forged-{name}.creds"
        found[name].write_text(creds_of(token, key), encoding="ascii")
    return found


@attack("credentials signed by a tenant's role or account key that leaked, once it is replaced",
        layer="server (signing keys of the account)")  # fmt: skip
@attack(
    "a join file, or an edge's old credentials, after the keys were replaced",
    layer="server (signing keys of the account)",
)
async def test_old_keys_open_nothing_and_the_site_goes_on(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(trusted_hub(tmp_path, "acme", "beta"))
        tenant = site.operator.tenant("acme")
        file, late = site.operator.join_file("acme", "plant1"), site.operator.join_file("acme", "plant2")
        ann, cal = site.operator.user("acme", "ann", "viewer"), site.operator.user("beta", "cal", "viewer")
        await site.taken()
        folder = await site.join(file)
        await site.join(late)  # it joined, and is away
        old_creds = tmp_path / "old.creds"
        shutil.copy(folder / "secrets" / "uplink.creds", old_creds)
        leaked = {role: tenant.roles[role] for role in ("flow", "viewer", "commander")} | {
            "account": tenant.plant_signing
        }  # type: ignore[index]
        forged = forged_with(site, leaked, tenant.plant_public, tenant.people_public)
        await stack.enter_async_context(site.edge(file, folder))
        plant = await stack.enter_async_context(site.plant("acme"))
        at_edge = await stack.enter_async_context(connect(folder))
        other = await stack.enter_async_context(client_of(site, cal))
        thieves = {}
        for name, path in forged.items():
            thieves[name] = await connect_nats(site.hub.server.url, Credentials(creds_file=path), name=name)
            stack.push_async_callback(thieves[name].close)
        for number in range(50):
            await at_edge.publish("acme/plant1/line:n", number)
        await until(lambda: counted(plant, 50), "what the site said before")

        keys = KeysInMemory(site.operator)
        assert await asyncio.to_thread(lambda: _rekey.rekey("acme", keys=keys)) == 0
        assert await asyncio.to_thread(lambda: _rekey.rekey("acme", key=["bridge"], keys=keys)) == 0
        for number in range(50, 100):
            await at_edge.publish("acme/plant1/line:n", number)
        await until(lambda: all(not thief.is_connected for thief in thieves.values()), "who had the old keys is out")
        for path in (*forged.values(), ann):
            with pytest.raises(AuthError):
                async with client_of(site, path):
                    pass

        async def are_all_there() -> bool:
            return await counted(plant, 100) and (await values(plant)).get("acme/plant1/line:n") == 99

        await until(are_all_there, "the site goes on with its new token: all values once, in order")
        new, old = (parse_creds(path.read_text(encoding="ascii"), where="") for path in
                    (folder / "secrets" / "uplink.creds", old_creds))  # fmt: skip
        assert new[1].public == old[1].public, "the box keeps its key"
        assert new[0] != old[0]
        with pytest.raises(AuthError, match="does not open"):
            await join_hub(late, tmp_path / "thief", patience_s=20.0)
        assert other.is_connected, "the other tenant did not notice"
        assert other.stats["reconnects"] == 0
        await told(site, "acme", "site.renewed", sites=["plant1"])
        await told(site, "acme", "site.left_out", sites=["plant2"])
        first, second = await site.audit("acme", "operator.tenant_rekeyed")
        assert set(first["before"]) == set(first["after"]) == set(signing_keys(tenant))
        assert not set(first["before"].values()) & set(first["after"].values())
        assert (list(second["after"]), first["data"]["users_locked_out"]) == (["bridge"], ["ann"])

        again = site.operator.join_file("acme", "plant2")  # and so does the one that was away, with a new file
        await site.taken()
        assert (await site.join(again)).exists()
        back = site.operator.user("acme", "ann", "viewer")
        await site.taken()
        async with client_of(site, back):
            pass


def test_each_key_is_replaced_by_name_and_others_stay() -> None:
    from millstream.trust import Limits, add_tenant, add_user, make_trust

    trust = make_trust("op", "nats://x:1", 1)
    tenant = add_tenant(trust, "acme", None, Limits(), 1)
    for name in KEY_NAMES:
        before = signing_keys(tenant)
        if name not in ("edge", "join", "account"):
            add_user(tenant, f"u-{name}", name, None, 1)  # type: ignore[arg-type]
        locked = rekey_tenant(tenant, [name], 2)
        after = signing_keys(tenant)
        changed = {one for one in after if after[one] != before[one]}
        assert changed == {one for one in after if one.split()[0] == name}
        assert locked == ([f"u-{name}"] if f"u-{name}" in tenant.users else [])
    identities = dict(trust.identities)
    rekey_tenant(tenant, [], 3)
    assert trust.identities == identities, "the accounts stay who they are"
    with pytest.raises(ConfigError):
        rekey_tenant(tenant, ["owner"], 3)
