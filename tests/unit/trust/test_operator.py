"""The operator's state: what it keeps, what it gives to a hub, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

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
        tenant.join_key, tenant.roles["flow"], tenant.roles["bridge"], *trust.identities.values(),
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
