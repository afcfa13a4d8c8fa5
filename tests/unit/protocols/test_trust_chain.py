"""Who may vouch for what an edge runs, from the pinned operator down; everything else is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec
import pytest

from millstream.kernel import AuthError
from millstream.model import AssetPath
from millstream.protocols.module import Manifest, signed_manifest
from millstream.protocols.nats_jwt import KeyPair, parse_creds, read_token, sign_claims
from millstream.protocols.site_config import Signature, make_revision, signed_bytes
from millstream.protocols.trust_chain import Chain, Pin, TrustChain, encode_chain, name_of, read_chain, sign
from millstream.trust import (
    Limits,
    Person,
    Role,
    Tenant,
    Trust,
    add_tenant,
    add_user,
    make_bundle,
    make_trust,
    person_token,
    read_bundle,
    restore_user,
    revoke_user,
)

NOW_S = 1_790_000_000
NOW_NS = NOW_S * 1_000_000_000
DATA = b"what is to be signed"
attack = pytest.mark.attack


class Signing:
    """Somebody with credentials."""

    def __init__(self, token: str, key: KeyPair) -> None:
        self.token, self.key = token, key

    def sign(self, data: bytes = DATA) -> Signature:
        return sign(data, self.token, self.key)


class World:
    """An operator with two tenants, and what an edge of the first has pinned."""

    def __init__(self) -> None:
        self.trust: Trust = make_trust("op", "nats://127.0.0.1:1", NOW_S)
        self.acme, self.beta = (add_tenant(self.trust, name, None, Limits(), NOW_S) for name in ("acme", "beta"))
        self.pin = Pin(
            tenant="acme", site="east", operator_public=self.trust.operator_public,
            plant_public=self.acme.plant_public, people_public=self.acme.people_public,
        )  # fmt: skip

    def user(
        self, name: str, role: Role, tenant: Tenant | None = None, expires_s: int | None = None,
        paths: Sequence[str] = (),
    ) -> Signing:  # fmt: skip
        _, creds = add_user(tenant or self.acme, name, role, expires_s, NOW_S, paths=paths)
        return Signing(*parse_creds(creds, where="test"))

    def payload(self, tenant: str = "acme") -> bytes:
        """What the hub hands on: from the file that it was given."""
        hub = read_bundle(make_bundle(self.trust, NOW_S), NOW_S)
        return encode_chain(Chain(hub.operator_token, hub.tenants[tenant].people_token))

    def chain(self) -> TrustChain:
        return read_chain(self.payload(), self.pin, NOW_S)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("role", ["engineer", "commander"])
def test_an_engineer_of_the_tenant_vouches(world: World, role: Role) -> None:
    ann = world.user("ann", role)
    author = world.chain().author(ann.sign(), DATA, NOW_NS)
    assert (author.name, author.key, author.role) == ("ann", ann.key.public, role)
    assert name_of(read_token(ann.token)) == "ann"


@attack("what a viewer, a bridge or a flow's worker has signed", layer="edge: chain of trust")
@pytest.mark.parametrize("role", ["viewer", "bridge", "flow"])
def test_other_roles_do_not_vouch(world: World, role: Role) -> None:
    signing = world.user("vic", role)
    with pytest.raises(AuthError, match="may not"):
        world.chain().author(signing.sign(), DATA, NOW_NS)


@attack("what an engineer of another tenant has signed", layer="edge: chain of trust")
def test_engineers_of_other_tenants_do_not_vouch(world: World) -> None:
    eve = world.user("eve", "engineer", world.beta)
    with pytest.raises(AuthError, match="may not"):
        world.chain().author(eve.sign(), DATA, NOW_NS)
    with pytest.raises(AuthError, match="another tenant"):
        read_chain(world.payload("beta"), world.pin, NOW_S)


@attack("an engineer whom a taken-over hub made with the role's key that it holds", layer="edge: operator's list")
def test_the_roles_key_of_the_hub_makes_no_author(world: World) -> None:
    hub = read_bundle(make_bundle(world.trust, NOW_S), NOW_S)
    role = KeyPair(hub.tenants["acme"].roles["engineer"])
    mine = KeyPair.make("user", os.urandom(32))
    nats = {"type": "user", "version": 2, "issuer_account": world.acme.people_public}
    token = sign_claims({"sub": mine.public, "name": "ann", "nats": nats}, role, NOW_S)
    with pytest.raises(AuthError, match="none of the operator's authors"):
        world.chain().author(sign(DATA, token, mine), DATA, NOW_NS)


@attack("what was changed after it was signed, or signed by another key", layer="edge: signature")
def test_a_signature_holds_for_its_data_its_key_and_its_token_only(world: World) -> None:
    ann, bob = world.user("ann", "engineer"), world.user("bob", "engineer")
    chain, good = world.chain(), ann.sign()
    others = [
        msgspec.structs.replace(good, key=bob.key.public),
        msgspec.structs.replace(good, token=bob.token),
        msgspec.structs.replace(bob.sign(), token=ann.token),
        msgspec.structs.replace(good, value=bob.sign().value),
        msgspec.structs.replace(good, value=""),
        msgspec.structs.replace(good, value="*"),
        msgspec.structs.replace(good, token=""),
        msgspec.structs.replace(good, token=good.token[:-4] + "AAAA"),
        None,
    ]
    for other in others:
        with pytest.raises(AuthError):
            chain.author(other, DATA, NOW_NS)
    with pytest.raises(AuthError, match="does not fit"):
        chain.author(good, DATA + b".", NOW_NS)


@attack("what was signed with credentials that had expired, or before they were made", layer="edge: chain of trust")
def test_a_signature_is_of_the_time_in_which_its_author_could_sign(world: World) -> None:
    ann = world.user("ann", "engineer", expires_s=NOW_S + 60)
    chain = world.chain()
    chain.author(ann.sign(), DATA, NOW_NS + 59 * 10**9)  # an edge that was away takes it weeks later
    for time_ns in (NOW_NS + 61 * 10**9, NOW_NS - 10**9):
        with pytest.raises(AuthError):
            chain.author(ann.sign(), DATA, time_ns)


@attack("what somebody has signed who was locked out", layer="edge: operator's list")
def test_who_was_locked_out_vouches_for_nothing_until_let_in_again(world: World) -> None:
    ann = world.user("ann", "engineer")
    revoke_user(world.acme, "ann", NOW_S)
    with pytest.raises(AuthError, match="none of the operator's authors"):
        world.chain().author(ann.sign(), DATA, NOW_NS)
    restore_user(world.acme, "ann")
    assert world.chain().author(ann.sign(), DATA, NOW_NS).name == "ann"


@attack("a chain of trust of another operator, or one that a hub made up", layer="edge: pinned operator")
def test_a_chain_of_somebody_else_is_none(world: World) -> None:
    other = World()
    mixed = msgspec.json.decode(world.payload(), type=Chain)
    forged = msgspec.json.decode(other.payload(), type=Chain)
    for payload in (
        other.payload(), encode_chain(Chain(mixed.operator_token, forged.people_token)),
        encode_chain(Chain(forged.operator_token, mixed.people_token)), b"", b"{}", b"[]", b"\xff" * 3_000_000,
        encode_chain(Chain("", "")), encode_chain(Chain(mixed.people_token, mixed.people_token)),
    ):  # fmt: skip
        with pytest.raises(AuthError):
            read_chain(payload, world.pin, NOW_S)


def test_every_field_of_a_revision_and_of_a_module_is_signed(world: World) -> None:
    ann, chain = world.user("ann", "engineer"), world.chain()
    revision = make_revision("east", "{}", revision=3, based_on=2, author="ann", comment="c", time_ns=NOW_NS)
    signature = ann.sign(signed_bytes(revision))
    assert chain.author(signature, signed_bytes(revision), NOW_NS).name == "ann"
    changes = {"edge": "west", "revision": 4, "based_on": 1, "digest": "sha256:" + "0" * 64, "author": "eve",
               "time_ns": NOW_NS + 1, "comment": "d", "kind": "apply", "restores": 1, "healthy_within_ms": 1000,
               "rollout": "r"}  # fmt: skip
    assert set(changes) == set(revision.__struct_fields__) - {"document", "packed", "signature"}
    for name, value in changes.items():
        with pytest.raises(AuthError):
            chain.author(signature, signed_bytes(msgspec.structs.replace(revision, **{name: value})), NOW_NS)
    manifest = Manifest(digest="sha256:" + "1" * 64, size_bytes=1, kind="wasm", file="m", author="ann", time_ns=NOW_NS)
    signature = ann.sign(signed_manifest(manifest))
    changes = {"digest": "sha256:" + "0" * 64, "size_bytes": 2, "kind": "wheel", "file": "n", "author": "eve",
               "time_ns": NOW_NS + 1}  # fmt: skip
    assert set(changes) == set(manifest.__struct_fields__) - {"signature"}
    for name, value in changes.items():
        with pytest.raises(AuthError):
            chain.author(signature, signed_manifest(msgspec.structs.replace(manifest, **{name: value})), NOW_NS)
    assert not signed_manifest(manifest).startswith(signed_bytes(revision)[:20]), "one thing's is never another's"


@attack("a configuration signed by an author of some paths, for a site elsewhere", layer="edge: the author's paths")
def test_an_author_of_some_paths_vouches_for_what_lies_there_only(world: World) -> None:
    bea = world.user("bea", "engineer", paths=["acme/east", "acme/Süd 1"])
    chain = world.chain()
    for place in ("acme/east", "acme/east/line1", "acme/Süd 1"):
        assert chain.author(bea.sign(), DATA, NOW_NS, place).role == "engineer"
    for place in ("acme/west", "acme/east2", "acme", None):
        with pytest.raises(AuthError, match="no author here"):
            chain.author(bea.sign(), DATA, NOW_NS, place)
    revoke_user(world.acme, "bea", NOW_S)
    with pytest.raises(AuthError, match="none of the operator's authors"):
        world.chain().author(bea.sign(), DATA, NOW_NS, "acme/east")


@attack("a hub making an author of some paths one of the whole tenant", layer="edge: the operator's own word")
def test_a_token_that_a_hub_makes_wider_does_not_widen_an_author(world: World) -> None:
    bea = world.user("bea", "engineer", paths=["acme/east"])
    everywhere = Person(name="bea", role="engineer")
    seed, account = world.acme.roles["engineer"], world.acme.people_public
    wider = person_token(seed, account, bea.key.public, everywhere, now_s=NOW_S, expires_s=NOW_S + 60)
    with pytest.raises(AuthError, match="no author here"):
        world.chain().author(sign(DATA, wider, bea.key), DATA, NOW_NS, "acme/west")


@pytest.mark.parametrize(
    ("root", "is_near"),
    [(None, True), ("acme", True), ("acme/south", True), ("acme/south/hall1", True), ("acme/sou", False),
     ("acme/southeast", False), ("acme/west", False), ("beta", False)],
)  # fmt: skip
def test_an_author_of_some_paths_is_one_near_these_only(world: World, root: str | None, is_near: bool) -> None:
    bea, ann = world.user("bea", "engineer", paths=("acme/south",)), world.user("ann", "engineer")
    place = None if root is None else AssetPath.parse(root)
    chain = world.chain()
    assert chain.author_near(ann.sign(), DATA, NOW_NS, place).name == "ann"
    assert (chain.places_of(ann.key.public), chain.places_of(bea.key.public)) == (("uns.v1",), ("uns.v1.acme.south",))
    if is_near:
        assert chain.author_near(bea.sign(), DATA, NOW_NS, place).name == "bea"
        return
    with pytest.raises(AuthError, match="no author here"):
        chain.author_near(bea.sign(), DATA, NOW_NS, place)
