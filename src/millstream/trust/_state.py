"""What an operator keeps: keys of itself, of its accounts and roles, and who was let in. Data only."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["edge", "flow", "device", "viewer", "engineer", "commander", "bridge"]
PLANT_ROLES: tuple[Role, ...] = ("edge", "flow", "device", "bridge")
"""Roles in a tenant's own account, where the data is."""
PEOPLE_ROLES: tuple[Role, ...] = ("viewer", "engineer", "commander")
"""Roles in the tenant's account of people, which imports what they may see and ask."""
ONLINE_ROLES: tuple[str, ...] = ("edge", "flow", "device", *PEOPLE_ROLES)
"""Whose keys the hub holds, so that it can let in a box with a join file, a person with a password, the workers of its
own flows, and the client with which it makes the streams of MQTT."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant may use of a hub, so that it cannot exhaust another. `disk_bytes` is for its data."""

    connections: int = 1000
    sites: int = 500
    subscriptions: int = 100_000
    payload_bytes: int = 8 << 20
    disk_bytes: int = 50 << 30
    memory_bytes: int = 256 << 20
    streams: int = 64
    consumers: int = 4000


class JoinToken(msgspec.Struct, frozen=True, kw_only=True):
    """One join file that was given out: the public key in it, and until when (Unix seconds) it opens the door."""

    public: str
    expires_s: int


class Site(msgspec.Struct, kw_only=True):
    """A site of a tenant. `place` is its path, such as ``acme/cologne``."""

    name: str
    place: str
    created_s: int
    labels: dict[str, str] = {}
    tokens: list[JoinToken] = []
    revoked_s: int | None = None


class User(msgspec.Struct, kw_only=True):
    """A person or program with credentials of its own; a person with `paths` sees what lies there only."""

    name: str
    role: Role
    public: str
    created_s: int
    paths: list[str] = []
    expires_s: int | None = None
    revoked_s: int | None = None


class Tenant(msgspec.Struct, kw_only=True):
    """A customer: two accounts (plant and people), each with an identity and a key that signs for it, and a scoped key
    for each role; `below` has those of people who see some paths only. `revoked` has the plant's and the people's
    public keys that are locked out, each since when."""

    name: str
    place: str
    created_s: int
    plant_public: str
    plant_signing: str
    people_public: str
    people_signing: str
    join_key: str
    roles: dict[Role, str]
    below: dict[Role, str] = {}
    limits: Limits = Limits()
    sites: dict[str, Site] = {}
    users: dict[str, User] = {}
    revoked: dict[str, int] = {}


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who logged in at a hub, and what it may see: all of its tenant, or with `paths` what lies below them, and of the
    sites there those of `sites`. `login` is the number of its log-in."""

    name: str
    role: Role
    paths: list[str] = []
    sites: list[str] = []
    login: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One act of the operator, for the audit: who did what to whom, in which tenant, how that stood before (None: it
    was not there) and after, and what else is to be said of it."""

    serial: int
    time_s: int
    who: str
    action: str
    tenant: str
    subject: str
    data: dict[str, Any] = {}
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class Trust(msgspec.Struct, kw_only=True):
    """Everything. `hub_url` and `more_urls` are where edges reach the boxes of the hub. `identities` has the seeds of
    operator and accounts by public key: they are needed to make new signing keys only, so they may be taken elsewhere.
    `serial` counts changes, so that a hub never takes an older state."""

    name: str
    serial: int
    created_s: int
    hub_url: str
    operator_public: str
    operator_token: str
    signing: str
    system_public: str
    system_signing: str
    provider_public: str
    provider_signing: str
    hub_seed: str
    identities: dict[str, str] = {}
    tenants: dict[str, Tenant] = {}
    changes: list[Change] = []
    certificate: str | None = None
    more_urls: list[str] = []
    version: int = 1
