"""The operator's state: what it keeps, what it gives to a hub, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from nacl import bindings
from nacl.pwhash import argon2id

from millstream.kernel import AuthError, ConfigError
from millstream.protocols.nats_jwt import KeyPair, parse_creds, read_token, sign_claims, verify_token
from millstream.trust import (
    Limits,
    Trust,
    add_site,
    add_tenant,
    add_user,
    changing_keys,
    load_keys,
    make_bundle,
    make_request,
    make_trust,
    new_key,
    note_change,
    read_bundle,
    read_request,
    restore_site,
    revoke_site,
    revoke_user,
    save_keys,
    seal,
    unseal,
)

PASSPHRASE = "a long passphrase"


def trust_of(*tenants: str) -> Trust:
    """An operator with tenants."""
    trust = make_trust("op", "nats://hub:7422", 1000)
    for name in tenants:
        add_tenant(trust, name, None, Limits(), 1000)
    return trust


def test_the_key_store_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    trust = trust_of("acme")
    data = seal(trust, PASSPHRASE)
    assert unseal(data, PASSPHRASE, where="x") == trust
    assert trust.signing.encode() not in data
    with pytest.raises(AuthError) as wrong:
        unseal(data, PASSPHRASE + "!", where="x")
    assert wrong.value.code == "MS-2102"
    with pytest.raises(AuthError):
        unseal(data.replace(data[-20:-10], b"AAAAAAAAAA"), PASSPHRASE, where="x")
    for other in (b"", b"{}", b"[]", b"\xff" * 100):
        with pytest.raises(ConfigError):
            unseal(other, PASSPHRASE, where="x")
    with pytest.raises(ConfigError, match="too short"):
        seal(trust, "short")


def test_a_key_store_costs_whoever_guesses_its_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What libsodium calls moderate passes over 64 MiB; the other tests seal at the least cost (tests/warm.py)."""
    weak = msgspec.json.decode(seal(trust_of(), PASSPHRASE))
    monkeypatch.setattr(argon2id, "OPSLIMIT_MODERATE", bindings.crypto_pwhash_argon2id_OPSLIMIT_MODERATE)
    monkeypatch.setattr(argon2id, "MEMLIMIT_INTERACTIVE", bindings.crypto_pwhash_argon2id_MEMLIMIT_INTERACTIVE)
    sealed = seal(trust_of(), PASSPHRASE)
    costs = msgspec.json.decode(sealed)
    assert (costs["opslimit"], costs["memlimit"]) == (3, 64 << 20)
    assert (weak["opslimit"], weak["memlimit"]) == (1, 8 << 10)
    (tmp_path / "keys").write_bytes(sealed)
    assert set(load_keys(tmp_path / "keys", PASSPHRASE).tenants) == set(trust_of().tenants)


def test_a_change_is_stored_with_the_next_serial_and_a_failed_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "operator.keys"
    save_keys(path, trust_of(), PASSPHRASE)
    assert path.stat().st_mode & 0o077 == 0
    with changing_keys(path, PASSPHRASE) as trust:
        add_tenant(trust, "acme", None, Limits(), 1)
    assert (load_keys(path, PASSPHRASE).serial, set(load_keys(path, PASSPHRASE).tenants)) == (2, {"acme"})

    def fail() -> None:
        with changing_keys(path, PASSPHRASE) as trust:
            add_tenant(trust, "beta", None, Limits(), 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (load_keys(path, PASSPHRASE).serial, set(load_keys(path, PASSPHRASE).tenants)) == (2, {"acme"})


def test_a_hub_gets_no_key_that_makes_accounts_or_owners() -> None:
    trust = trust_of("acme")
    text = make_bundle(trust, 1000)
    plain = str(read_token(text, size_max=1 << 24).claims)
    tenant = trust.tenants["acme"]
    secret = (
        trust.signing, trust.system_signing, trust.provider_signing, tenant.plant_signing, tenant.people_signing,
        tenant.join_key, tenant.roles["bridge"], *trust.identities.values(),
    )  # fmt: skip
    assert not [seed for seed in secret if seed in plain]
    assert tenant.roles["edge"] in plain


def test_a_bundle_is_taken_when_its_operator_signed_it() -> None:
    trust = trust_of("acme", "beta")
    add_site(trust.tenants["acme"], "cologne", None, {"a": "b"}, 2000, 1000)
    note_change(trust, "me", "site_added", "acme", "cologne", {}, 1000)
    bundle = read_bundle(make_bundle(trust, 1000), 1000)
    assert set(bundle.tenants) == {"acme", "beta"}
    assert bundle.tenants["acme"].sites["cologne"].place == "acme/cologne"
    assert [change.action for change in bundle.changes] == ["site_added"]
    for token in (bundle.system_token, bundle.provider_token, bundle.tenants["acme"].plant_token):
        verify_token(token, {KeyPair(trust.signing).public}, 1000)


def test_a_bundle_that_somebody_else_signed_is_refused() -> None:
    trust, evil = trust_of("acme"), trust_of("acme")
    claims = dict(read_token(make_bundle(trust, 1000), size_max=1 << 24).claims)
    forged = sign_claims(claims, KeyPair(evil.signing), 1000)  # the real operator's words, another's signature
    with pytest.raises(AuthError):
        read_bundle(forged, 1000)
    claims["nats"] = {**claims["nats"], "trust": {**claims["nats"]["trust"], "operator_public": evil.operator_public}}
    with pytest.raises(AuthError):
        read_bundle(sign_claims(claims, KeyPair(evil.signing), 1000), 1000)
    for text in ("", "a.b.c", sign_claims({"sub": "x", "nats": {}}, KeyPair(trust.signing), 1000)):
        with pytest.raises(AuthError):
            read_bundle(text, 1000)


@pytest.mark.parametrize("label", [("Region", "west"), ("a-b", "x"), ("", "x"), ("a" * 33, "x"), ("a", "x" * 257)])
def test_labels_are_such_as_the_edges_file_takes(label: tuple[str, str]) -> None:
    trust = make_trust("op", "nats://127.0.0.1:1", 1000)
    tenant = add_tenant(trust, "acme", None, Limits(), 1000)
    site, _ = add_site(tenant, "cologne", None, {"region": "west"}, 2000, 1000)
    with pytest.raises(ConfigError, match="not a label"):
        add_site(tenant, "cologne", None, dict([label]), 2000, 1000)
    assert add_site(tenant, "cologne", None, {}, 2000, 1000)[0].labels == {"region": "west"}
    assert add_site(tenant, "cologne", None, {"region": "south"}, 2000, 1000)[0].labels == {"region": "south"}
    assert site.labels == {"region": "south"}


def test_revoking_a_site_locks_out_its_keys_and_its_join_files() -> None:
    trust = trust_of("acme")
    tenant = trust.tenants["acme"]
    site, _ = add_site(tenant, "cologne", None, {}, 2000, 1000)
    revoke_site(tenant, "cologne", ["UKEY"], 1500)
    assert tenant.revoked == {"UKEY": 1500, site.tokens[0].public: 1500}
    plant = read_token(read_bundle(make_bundle(trust, 1600), 1600).tenants["acme"].plant_token)
    assert plant.nats["revocations"]["UKEY"] == 1500
    restore_site(tenant, "cologne", ["UKEY"])
    assert "UKEY" not in tenant.revoked
    assert site.tokens[0].public in tenant.revoked  # a file that was given out and locked out stays so


def test_a_name_is_free_again_once_its_user_is_locked_out() -> None:
    tenant = trust_of("acme").tenants["acme"]
    first, _ = add_user(tenant, "ann", "viewer", None, 1)
    with pytest.raises(ConfigError):
        add_user(tenant, "ann", "viewer", None, 1)
    revoke_user(tenant, "ann", 2)
    second, creds = add_user(tenant, "ann", "viewer", 50, 3)
    token, _ = parse_creds(creds, where="x")
    assert first.public != second.public
    assert read_token(token).expires_s == 50


def test_people_live_in_another_account_than_the_plant() -> None:
    tenant = trust_of("acme").tenants["acme"]
    for role, account in (("viewer", tenant.people_public), ("commander", tenant.people_public),
                          ("bridge", tenant.plant_public), ("flow", tenant.plant_public)):  # fmt: skip
        _, creds = add_user(tenant, role, role, None, 1)  # type: ignore[arg-type]
        assert read_token(parse_creds(creds, where="x")[0]).account == account
    with pytest.raises(ConfigError):
        add_user(tenant, "box", "edge", None, 1)


def test_a_request_to_join_is_signed_by_the_key_that_asks() -> None:
    key, bearer = new_key("user"), new_key("user").public
    assert read_request(make_request(key, "cologne", bearer), "cologne", bearer) == key.public
    for site, carried in (("bonn", bearer), ("cologne", new_key("user").public)):
        with pytest.raises(AuthError):
            read_request(make_request(key, "cologne", bearer), site, carried)
    for payload in (b"", b"{}", b"[]", b'{"public": "U", "signature": ""}', b"\xff"):
        with pytest.raises(AuthError):
            read_request(payload, "cologne", bearer)


def tokens_of(text: str) -> dict[str, str]:
    """Each token of a hub's file, by whose it is."""
    bundle = read_bundle(text, 1000)
    found = {"system": bundle.system_token, "system user": bundle.system_user_token}
    found |= {"provider": bundle.provider_token, "provider user": bundle.provider_user_token}
    for name, tenant in bundle.tenants.items():
        found |= {f"{name} plant": tenant.plant_token, f"{name} people": tenant.people_token}
        found[f"{name} hub"] = tenant.hub_token
    return found


def differing(before: str, after: str) -> set[str]:
    """Whose tokens are not byte by byte the same."""
    old, new = tokens_of(before), tokens_of(after)
    return {name for name in new if old.get(name) != new[name]}


def test_an_act_on_one_of_a_hundred_tenants_leaves_the_tokens_of_the_others_as_they_are() -> None:
    trust = trust_of(*(f"t{number}" for number in range(100)))
    add_user(trust.tenants["t7"], "ann", "viewer", None, 1000)
    before = make_bundle(trust, 1000)
    assert differing(before, make_bundle(trust, 2000, before)) == set()
    revoke_user(trust.tenants["t7"], "ann", 2000)
    after = make_bundle(trust, 2000, before)
    assert differing(before, after) == {"t7 plant", "t7 people"}
    add_tenant(trust, "late", None, Limits(), 3000)
    assert differing(after, make_bundle(trust, 3000, after)) == {"late plant", "late people", "late hub", "provider"}


def test_only_what_this_operator_signed_is_taken_over_from_the_file_before() -> None:
    trust, evil = trust_of("acme"), trust_of("acme")
    before = make_bundle(trust, 1000)
    claims = dict(read_token(before, size_max=1 << 24).claims)
    inner = dict(claims["nats"]["trust"])
    tenant = dict(inner["tenants"]["acme"])
    plant = read_token(tenant["plant_token"])
    tenant["plant_token"] = sign_claims(plant.claims, KeyPair(evil.signing), 1000)  # the same words, another's key
    head, _, signature = tenant["people_token"].rpartition(".")
    tenant["people_token"] = f"{head}.{signature[::-1]}"
    inner["tenants"] = {"acme": tenant}
    forged = sign_claims({**claims, "nats": {**claims["nats"], "trust": inner}}, KeyPair(evil.signing), 1000)
    after = make_bundle(trust, 2000, forged)
    for token in (read_bundle(after, 2000).tenants["acme"].plant_token, read_bundle(after, 2000).provider_token):
        verify_token(token, {KeyPair(trust.signing).public}, 2000)
    assert differing(before, after) == {"acme plant", "acme people"}
    for useless in ("", "a.b.c", forged[:-10] + "AAAAAAAAAA", "\x00"):
        assert set(tokens_of(make_bundle(trust, 2000, useless))) == set(tokens_of(before))


def test_paths_of_a_person_are_its_tenants_and_stand_in_its_token() -> None:
    tenant = trust_of("acme").tenants["acme"]
    add_site(tenant, "east", None, {}, 2000, 1000)
    add_site(tenant, "west", None, {}, 2000, 1000)
    user, creds = add_user(tenant, "bea", "engineer", None, 1000, paths=["acme/east", "acme/hall 1"])
    token = read_token(parse_creds(creds, where="test")[0])
    assert (user.paths, token.issuer) == (["acme/east", "acme/hall 1"], KeyPair(tenant.below["engineer"]).public)
    assert (token.tags("path"), token.tags("site")) == (["uns.v1.acme.east", "uns.v1.acme.hall=201"], ["east"])
    for role, paths in (("engineer", ["beta"]), ("engineer", ["acme/x"] * 9), ("flow", ["acme"]), ("viewer", ["a//b"])):
        with pytest.raises(ConfigError):
            add_user(tenant, "eve", role, None, 1000, paths=paths)  # type: ignore[arg-type]
    assert "eve" not in tenant.users
