"""What a hub is given by its operator: one signed text with the accounts, the hub's own log-ins, and the keys it needs
to let in boxes and people. It holds secrets, so its file is the hub's alone.
"""

from __future__ import annotations

import msgspec

from millstream.kernel import AuthError
from millstream.protocols.nats_jwt import KeyPair, Token, read_token, sign_claims, verified, verify_token
from millstream.trust._accounts import (
    owner_claims,
    people_claims,
    plant_claims,
    provider_claims,
    system_claims,
)
from millstream.trust._signer import Signer
from millstream.trust._state import ONLINE_ROLES, Change, Tenant, Trust

KEPT = "trust.bundle"  # the hub's own copy, in the secrets of its data folder
BUNDLE_BYTES_MAX = 32 << 20


class HubSite(msgspec.Struct, frozen=True, kw_only=True):
    """A site that may report. `tokens` are the public keys of join files that were given out for it."""

    place: str
    labels: dict[str, str] = {}
    tokens: list[str] = []
    is_revoked: bool = False


class HubTenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as its hub sees it: `hub_token` is the hub's own log-in, `roles` the seeds of scoped keys, `below` of
    those whose users see some paths only. `created_s` is 0 in files of earlier versions."""

    name: str
    place: str
    plant_public: str
    people_public: str
    plant_token: str
    people_token: str
    hub_token: str
    disk_bytes: int
    roles: dict[str, str]
    sites: dict[str, HubSite]
    below: dict[str, str] = {}
    created_s: int = 0


class HubTrust(msgspec.Struct, frozen=True, kw_only=True):
    """All that a hub needs. `hub_seed` is the key behind each of its log-ins."""

    serial: int
    operator_public: str
    operator_token: str
    system_public: str
    system_token: str
    system_user_token: str
    provider_public: str
    provider_token: str
    provider_user_token: str
    hub_seed: str
    tenants: dict[str, HubTenant]
    changes: list[Change] = []


def make_bundle(trust: Trust, now_s: int, before: str | None = None) -> str:
    """The text for the hub, signed by the operator's signing key. What the file `before` says already of an account or
    a log-in, and this operator signed, is taken over as it is: a hub tells its server of what differs only."""
    hub = KeyPair(trust.hub_seed).public
    signer = Signer(now_s, _tokens_of(before))
    operator = KeyPair(trust.signing)
    bundle = HubTrust(
        serial=trust.serial,
        operator_public=trust.operator_public,
        operator_token=trust.operator_token,
        system_public=trust.system_public,
        system_token=signer.sign(system_claims(trust), operator),
        system_user_token=_owner(signer, hub, trust.system_public, trust.system_signing),
        provider_public=trust.provider_public,
        provider_token=signer.sign(provider_claims(trust), operator),
        provider_user_token=_owner(signer, hub, trust.provider_public, trust.provider_signing),
        hub_seed=trust.hub_seed,
        tenants={
            name: _tenant(signer, operator, tenant, (hub, 1 + len(trust.more_urls)))
            for name, tenant in trust.tenants.items()
        },
        changes=trust.changes,
    )
    claims = {"sub": hub, "nats": {"type": "generic", "trust": msgspec.to_builtins(bundle)}}
    return sign_claims(claims, operator, now_s)


def read_bundle(text: str, now_s: float) -> HubTrust:
    """What the operator signed: its own token says which key signs for it. Raises AuthError (MS-2104, MS-2105)."""
    token = read_token(text, size_max=BUNDLE_BYTES_MAX)
    bundle = _bundle_in(token)
    operator = verify_token(bundle.operator_token, {bundle.operator_public}, now_s)
    keys = operator.nats.get("signing_keys")
    if operator.subject != bundle.operator_public or not isinstance(keys, list):
        raise AuthError("the operator's token is somebody else's", code="MS-2105")
    verified(token, {str(key) for key in keys}, now_s)
    return bundle


def _bundle_in(token: Token) -> HubTrust:
    try:
        return msgspec.convert(token.nats.get("trust"), HubTrust)
    except msgspec.ValidationError as error:
        raise AuthError("not a hub's trust file", got=str(error).lower(), code="MS-2105") from error


def _tokens_of(text: str | None) -> list[str]:
    """The tokens in a file as it was written before, unproven; none of what is no such file."""
    if text is None:
        return []
    try:
        bundle = _bundle_in(read_token(text, size_max=BUNDLE_BYTES_MAX))
    except AuthError:
        return []
    tokens = [bundle.system_token, bundle.system_user_token, bundle.provider_token, bundle.provider_user_token]
    for tenant in bundle.tenants.values():
        tokens += [tenant.plant_token, tenant.people_token, tenant.hub_token]
    return tokens


def _tenant(signer: Signer, operator: KeyPair, tenant: Tenant, hub_of: tuple[str, int]) -> HubTenant:
    """Of a hub with that key and so many boxes."""
    hub, boxes = hub_of
    return HubTenant(
        name=tenant.name,
        place=tenant.place,
        plant_public=tenant.plant_public,
        people_public=tenant.people_public,
        plant_token=signer.sign(plant_claims(tenant, boxes), operator),
        people_token=signer.sign(people_claims(tenant), operator),
        hub_token=_owner(signer, hub, tenant.plant_public, tenant.plant_signing),
        disk_bytes=tenant.limits.disk_bytes,
        roles={role: seed for role, seed in tenant.roles.items() if role in ONLINE_ROLES},
        below={str(role): seed for role, seed in tenant.below.items()},
        created_s=tenant.created_s,
        sites={
            name: HubSite(
                place=site.place, labels=site.labels, tokens=[token.public for token in site.tokens],
                is_revoked=site.revoked_s is not None,
            )
            for name, site in tenant.sites.items()
        },
    )  # fmt: skip


def _owner(signer: Signer, hub: str, account: str, signing: str) -> str:
    return signer.sign(owner_claims(hub, "hub", account), KeyPair(signing))
