"""From the operator's state to the tokens that nats-server reads: accounts with limits, scoped keys, exports, imports.

The accounts of a hub: SYS (the server's own), PROVIDER (who runs the hub), and two for each tenant. The plant's account
has the data, its edges and the hub's workers; the people's imports what people may see and ask. People are apart
because a reply subject is a weapon: whoever may ask JetStream for a message can have the answer delivered to any
subject of the account, a machine's command handler too. The border between accounts stops that (measured),
and no consumer may be made across it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millstream.bus import (
    HUB_DOMAIN,
    PEOPLE_SERVICES,
    PLACE,
    SITE,
    TOLD_WHO_ASKS,
    Permissions,
    bridge_permissions,
    commander_permissions,
    device_permissions,
    edge_permissions,
    engineer_permissions,
    flow_permissions,
    join_permissions,
    permissions_below,
    viewer_permissions,
)
from millstream.protocols.below import place_subject
from millstream.protocols.nats_jwt import KeyPair
from millstream.protocols.trust_chain import AUTHOR_ROLES, BELOW_ROLE, author_tags
from millstream.trust._state import PEOPLE_ROLES, PLANT_ROLES, Limits, Role, Tenant, Trust

_UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
BOOKS_BYTES = 4 << 30
"""Beside what a tenant's data may take: configurations, commands, contracts, dead letters, who joined; each bounded."""
_OPEN: dict[str, Any] = {"pub": {}, "sub": {}}
JOIN_SCOPE = "join"


def role_permissions(role: Role) -> Permissions:
    """What a role may do, as a template."""
    if role == "edge":
        return edge_permissions(SITE, PLACE, HUB_DOMAIN)
    makers = {
        "flow": flow_permissions, "device": device_permissions, "bridge": bridge_permissions,
        "viewer": viewer_permissions, "engineer": engineer_permissions, "commander": commander_permissions,
    }  # fmt: skip
    return makers[role]()


def operator_claims(public: str, name: str, signing: str, system: str) -> dict[str, Any]:
    """The operator: its signing key makes accounts, and its identity can stay in a safe."""
    nats = {"type": "operator", "version": 2, "signing_keys": [signing], "system_account": system}
    return {"sub": public, "name": name, "nats": nats}


def system_claims(trust: Trust) -> dict[str, Any]:
    """The server's own account: no JetStream, one signing key."""
    return _account(trust.system_public, "SYS", [KeyPair(trust.system_signing).public], _limits(None))


def provider_claims(trust: Trust) -> dict[str, Any]:
    """Who runs the hub: it sees each tenant's status, and no tenant's data."""
    imports = [
        _service(tenant.plant_public, f"millstream.node.*.{what}", f"tenant.{tenant.name}.millstream.node.$1.{what}")
        for tenant in trust.tenants.values()
        for what in ("status", "ledger")
    ]
    claims = _account(trust.provider_public, "PROVIDER", [KeyPair(trust.provider_signing).public], _limits(Limits()))
    claims["nats"]["imports"] = imports
    return claims


def plant_claims(tenant: Tenant, boxes: int = 1) -> dict[str, Any]:
    """The account where a tenant's data is. What the `boxes` of a hub keep of it counts together, as servers count."""
    scopes = [_scope(tenant.roles[role], role, role_permissions(role)) for role in PLANT_ROLES]
    scopes.append(_scope(tenant.join_key, JOIN_SCOPE, join_permissions()))
    keys = [KeyPair(tenant.plant_signing).public, *scopes]
    claims = _account(tenant.plant_public, f"{tenant.name}", keys, _limits(tenant.limits))
    claims["nats"]["limits"]["disk_storage"] *= boxes
    claims["nats"]["exports"] = [
        {"name": "live", "subject": f"live.{place_subject(tenant.place)}.>", "type": "stream"},
        *(
            {"name": subject, "subject": subject, "type": "service", "response_type": "Stream"}
            for subject, _ in PEOPLE_SERVICES
        ),
    ]
    claims["nats"]["revocations"] = dict(tenant.revoked)
    return claims


def people_claims(tenant: Tenant) -> dict[str, Any]:
    """The account of a tenant's people: no JetStream of its own."""
    scopes = [_scope(tenant.roles[role], role, role_permissions(role)) for role in PEOPLE_ROLES]
    scopes += [_scope(tenant.below[role], role + BELOW_ROLE, permissions_below(role)) for role in tenant.below]
    keys = [KeyPair(tenant.people_signing).public, *scopes]
    claims = _account(tenant.people_public, f"{tenant.name} people", keys, _limits(tenant.limits, has_streams=False))
    claims["nats"]["imports"] = [
        {
            "name": "live", "account": tenant.plant_public, "type": "stream",
            "subject": f"live.{place_subject(tenant.place)}.>",
        },
        *(_service(tenant.plant_public, subject, local) for subject, local in PEOPLE_SERVICES),
    ]  # fmt: skip
    claims["nats"]["revocations"] = dict(tenant.revoked)
    claims["nats"]["tags"] = authors_of(tenant)
    return claims


def authors_of(tenant: Tenant) -> list[str]:
    """Who may sign what edges run, and where, as tags: by the operator's own word, since the hub holds a key of each
    role of people."""
    authors = [user for user in tenant.users.values() if user.role in AUTHOR_ROLES and user.revoked_s is None]
    return [tag for user in authors for tag in author_tags(user.public, user.paths)]


def user_claims(
    public: str, name: str, account: str, *, tags: Sequence[tuple[str, str]], expires_s: int | None
) -> dict[str, Any]:
    """A user whose rights come from the scope of the key that signs."""
    nats = {
        "type": "user", "version": 2, "issuer_account": account,
        "tags": [f"{key}:{value}" for key, value in tags],
    }  # fmt: skip
    claims: dict[str, Any] = {"sub": public, "name": name, "nats": nats}
    if expires_s is not None:
        claims["exp"] = expires_s
    return claims


def owner_claims(public: str, name: str, account: str) -> dict[str, Any]:
    """A user with all rights in its account: the hub itself, in each of them. The tag says where it hears replies:
    where edges may speak to."""
    tags = ["inbox:hub"]
    nats = {"type": "user", "version": 2, "issuer_account": account, "tags": tags, **_OPEN, **_UNLIMITED}
    return {"sub": public, "name": name, "nats": nats}


def _account(public: str, name: str, keys: list[Any], limits: dict[str, Any]) -> dict[str, Any]:
    nats = {
        "type": "account", "version": 2, "limits": limits, "signing_keys": keys, "default_permissions": _OPEN,
    }  # fmt: skip
    return {"sub": public, "name": name, "nats": nats}


def _limits(limits: Limits | None, *, has_streams: bool = True) -> dict[str, Any]:
    raw = {
        "subs": -1,
        "data": -1,
        "payload": -1,
        "imports": -1,
        "exports": -1,
        "wildcards": True,
        "conn": -1,
        "leaf": -1,
    }
    if limits is None:
        return raw
    raw |= {
        "conn": limits.connections,
        "leaf": limits.sites,
        "subs": limits.subscriptions,
        "payload": limits.payload_bytes,
    }
    if has_streams:
        raw |= {
            "mem_storage": limits.memory_bytes, "disk_storage": limits.disk_bytes + BOOKS_BYTES,
            "streams": limits.streams, "consumer": limits.consumers,
        }  # fmt: skip
    else:
        raw |= {"leaf": 0}
    return raw


def _scope(seed: str, role: str, permissions: Permissions) -> dict[str, Any]:
    return {
        "kind": "user_scope", "key": KeyPair(seed).public, "role": role, "template": permissions.as_template(),
    }  # fmt: skip


def _service(account: str, subject: str, local: str) -> dict[str, Any]:
    """An import. In a token `subject` is the exporter's and `local_subject` the importer's; a wildcard of the first is
    named by its place in the second (``$1``)."""
    raw: dict[str, Any] = {"name": local, "account": account, "type": "service", "subject": subject}
    if local != subject:
        raw["local_subject"] = local
    if subject in TOLD_WHO_ASKS:
        raw["share"] = True
    return raw
