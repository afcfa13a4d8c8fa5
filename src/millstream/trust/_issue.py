"""What an operator does: pure changes of its state, and the tokens that come of them.

Time is Unix seconds, given by the caller; keys come from the operating system's randomness through `fresh`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from millstream.kernel import ConfigError, DecodeError, NotFoundError
from millstream.model import AssetPath
from millstream.protocols.below import place_subject
from millstream.protocols.nats_jwt import KeyKind, KeyPair, format_creds, sign_claims
from millstream.protocols.server_advisory import JOINING_NAME
from millstream.trust._accounts import operator_claims, user_claims
from millstream.trust._state import (
    PEOPLE_ROLES,
    PLANT_ROLES,
    Change,
    JoinToken,
    Limits,
    Person,
    Role,
    Site,
    Tenant,
    Trust,
    User,
)

NAME_LENGTH_MAX = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
LABEL_CHARS_MAX = 256
_RESERVED = frozenset({"hub", "SYS", "PROVIDER", "sys", "provider"})
TOKENS_COUNT_MAX = 256
PATHS_COUNT_MAX = 8
CREDENTIALS_BYTES_MAX = 3500
"""Of a token: nats-server reads 4 KiB of a CONNECT line (measured: 4,084 bytes of token do not pass)."""
CHANGES_COUNT_MAX = 200
LIMITS_MIN = {"connections": 8, "sites": 1, "subscriptions": 1000, "disk_bytes": 64 << 20}
"""The hub has two connections in each plant, one more for each flow, and a site is a connection, too; each connection
of the hub has some hundred subscriptions, as has a site's; three streams of 16 MiB, and what flows say."""


def new_key(kind: KeyKind, fresh: Callable[[int], bytes] = os.urandom) -> KeyPair:
    """A key of its own kind."""
    return KeyPair.make(kind, fresh(32))


def make_trust(name: str, hub_url: str, now_s: int, certificate: str | None = None) -> Trust:
    """A new operator, with the accounts of the server and of who runs it. `certificate` has the authorities (PEM) by
    which edges know the hub."""
    _check_name(name, "operator")
    operator, signing = new_key("operator"), new_key("operator")
    system, provider = new_key("account"), new_key("account")
    claims = operator_claims(operator.public, name, signing.public, system.public)
    return Trust(
        name=name,
        serial=1,
        created_s=now_s,
        hub_url=hub_url,
        certificate=certificate,
        operator_public=operator.public,
        operator_token=sign_claims(claims, operator, now_s),
        signing=signing.seed,
        system_public=system.public,
        system_signing=new_key("account").seed,
        provider_public=provider.public,
        provider_signing=new_key("account").seed,
        hub_seed=new_key("user").seed,
        identities={key.public: key.seed for key in (operator, system, provider)},
    )


def add_tenant(trust: Trust, name: str, place: str | None, limits: Limits, now_s: int) -> Tenant:
    """A new customer, below a place of its own. Raises ConfigError."""
    _check_name(name, "tenant")
    if name in trust.tenants:
        raise ConfigError("a tenant of this name exists", got=name, code="MS-2103")
    path = _check_place(place or name)
    for other in trust.tenants.values():
        theirs = AssetPath.parse(other.place)
        if theirs.contains(path) or path.contains(theirs):
            raise ConfigError(
                "the place overlaps with another tenant's", expected="a place of its own",
                got=f"{path}, and {other.name} has {theirs}", code="MS-2103",
            )  # fmt: skip
    plant, people = new_key("account"), new_key("account")
    trust.identities |= {plant.public: plant.seed, people.public: people.seed}
    tenant = Tenant(
        name=name,
        place=str(path),
        created_s=now_s,
        plant_public=plant.public,
        plant_signing=new_key("account").seed,
        people_public=people.public,
        people_signing=new_key("account").seed,
        join_key=new_key("account").seed,
        roles={role: new_key("account").seed for role in (*PLANT_ROLES, *PEOPLE_ROLES)},
        below={role: new_key("account").seed for role in PEOPLE_ROLES},
        limits=limits,
    )
    trust.tenants[name] = tenant
    return tenant


def change_limits(tenant: Tenant, changes: Mapping[str, int]) -> None:
    """Other limits for a tenant, by the names that `Limits` has. Raises ConfigError."""
    tenant.limits = check_limits(msgspec.structs.replace(tenant.limits, **changes))


def check_limits(limits: Limits) -> Limits:
    """The same. Raises ConfigError for those under which the hub could not serve the tenant."""
    for name, least in LIMITS_MIN.items():
        if getattr(limits, name) < least:
            raise ConfigError(
                "the limit is too small for the hub's own work", where=name, expected=f"at least {least:,}",
                got=f"{getattr(limits, name):,}", code="MS-2103",
            )  # fmt: skip
    return limits


def complete_keys(trust: Trust) -> None:
    """Make the keys that a key store of an earlier version does not have."""
    for tenant in trust.tenants.values():
        for role in (*PLANT_ROLES, *PEOPLE_ROLES):
            tenant.roles.setdefault(role, new_key("account").seed)
        for role in PEOPLE_ROLES:
            tenant.below.setdefault(role, new_key("account").seed)


def note_change(
    trust: Trust, who: str, action: str, tenant: str, subject: str, data: dict[str, Any], now_s: int, *,
    before: dict[str, Any] | None = None, after: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write an act down, for the hub's audit; the newest are kept."""
    change = Change(
        serial=trust.serial + 1, time_s=now_s, who=who, action=action, tenant=tenant, subject=subject, data=data,
        before=before, after=after,
    )  # fmt: skip
    trust.changes = [*trust.changes, change][-CHANGES_COUNT_MAX:]


def find_tenant(trust: Trust, name: str) -> Tenant:
    """Raises NotFoundError."""
    if name not in trust.tenants:
        raise NotFoundError(
            "no tenant of this name", got=name, expected=", ".join(sorted(trust.tenants)) or "none is there yet",
            next_step=f"add it with `millstream tenant add {name}`",
        )  # fmt: skip
    return trust.tenants[name]


def find_site(tenant: Tenant, name: str) -> Site:
    """Raises NotFoundError."""
    if name not in tenant.sites:
        raise NotFoundError(
            "no site of this name", where=tenant.name, got=name,
            expected=", ".join(sorted(tenant.sites)[:20]) or "none is there yet",
        )  # fmt: skip
    return tenant.sites[name]


def add_site(
    tenant: Tenant, name: str, place: str | None, labels: dict[str, str], expires_s: int, now_s: int
) -> tuple[Site, str]:
    """A site, and the text of credentials that let one box become its edge, until `expires_s`. For a site that exists:
    new credentials, for a box that replaces the old one. Raises ConfigError."""
    _check_name(name, "site")
    _check_labels(labels)
    site = tenant.sites.get(name)
    if site is None:
        path = _check_place(place or f"{tenant.place}/{name}")
        if not AssetPath.parse(tenant.place).contains(path):
            raise ConfigError(
                "the site is not in the tenant's place", expected=f"a path below {tenant.place}", got=str(path),
                code="MS-2103",
            )  # fmt: skip
        site = Site(name=name, place=str(path), created_s=now_s, labels=labels)
    elif place is not None and place != site.place:
        raise ConfigError("the site is elsewhere", expected=site.place, got=place, code="MS-2103")
    elif labels:
        site.labels = labels
    tenant.sites[name] = site
    key = new_key("user")
    if len(site.tokens) >= TOKENS_COUNT_MAX:
        raise ConfigError("too many join files of one site", where=name, got=str(len(site.tokens)), code="MS-2103")
    site.tokens.append(JoinToken(public=key.public, expires_s=expires_s))  # kept: the keys that joined are found by it
    claims = user_claims(
        key.public, JOINING_NAME + name, tenant.plant_public, tags=[("site", name)], expires_s=expires_s
    )
    return site, format_creds(sign_claims(claims, KeyPair(tenant.join_key), now_s), key.seed)


def _check_labels(labels: dict[str, str]) -> None:
    """Raise ConfigError for what the edge's own file would not take."""
    for key, value in labels.items():
        if not _LABEL.match(key) or len(value) > LABEL_CHARS_MAX:
            raise ConfigError(
                "not a label", got=f"{key}={value}"[:80], code="MS-2103",
                expected=f"a small letter, then small letters, digits and '_'; a value of at most {LABEL_CHARS_MAX}",
            )  # fmt: skip


def site_prefix(site: Site) -> str:
    """The subject that the site publishes below."""
    return place_subject(site.place)


def edge_token(tenant_public: str, role_seed: str, site: str, place: str, public: str, now_s: int) -> str:
    """The token of a box that joined: for its own key, with the rights of the role ``edge`` at its own site."""
    claims = user_claims(
        public, site, tenant_public, tags=[("site", site), ("place", place_subject(place))], expires_s=None
    )
    return sign_claims(claims, KeyPair(role_seed), now_s)


def person_token(seed: str, account: str, public: str, person: Person, *, now_s: int, expires_s: int) -> str:
    """The token of a person who logged in, for the key that its browser made: `seed` is the scoped key of its role."""
    tags = [("role", person.role), ("login", person.login), *(("path", place_subject(path)) for path in person.paths)]
    tags += [("site", site) for site in person.sites]
    claims = user_claims(public, person.name, account, tags=tags, expires_s=expires_s)
    return sign_claims(claims, KeyPair(seed), now_s)


def program_token(seed: str, account: str, public: str, name: str, role: Role, *, now_s: int, expires_s: int) -> str:
    """The token of a program of the hub's own, in the plant: `seed` is the scoped key of its role."""
    return sign_claims(
        user_claims(public, name, account, tags=[("role", role)], expires_s=expires_s), KeyPair(seed), now_s
    )


def sites_in(places: Mapping[str, str], paths: Sequence[str]) -> list[str]:
    """Sites (name -> place) that lie in one of `paths` with all they have; a site that is larger than the path is not
    among them."""
    roots = [AssetPath.parse(path) for path in paths]
    return sorted(
        name for name, place in places.items() if any(root.contains(AssetPath.parse(place)) for root in roots)
    )


def fitting_token(sites: Sequence[str], token_of: Callable[[list[str]], str]) -> tuple[str, int]:
    """The token that `token_of` makes of as many of these sites as find room in it, and how many do not."""
    count = len(sites)
    while len(token := token_of(list(sites[:count]))) > CREDENTIALS_BYTES_MAX and count:
        count = count * 3 // 4
    return token, len(sites) - count


def add_user(
    tenant: Tenant, name: str, role: Role, expires_s: int | None, now_s: int, *, paths: Sequence[str] = ()
) -> tuple[User, str]:
    """Credentials of a person or program, of a person perhaps with `paths` only; of a device its token alone, which is
    its password. Raises ConfigError."""
    _check_name(name, "user")
    if role == "edge":
        raise ConfigError("an edge is let in by a join file", next_step="use `millstream site add`", code="MS-2103")
    if name in tenant.users and tenant.users[name].revoked_s is None:
        raise ConfigError("a user of this name exists", got=name, next_step="revoke it first", code="MS-2103")
    places = _check_paths(tenant, role, paths)
    key = new_key("user")
    user = User(name=name, role=role, public=key.public, created_s=now_s, paths=places, expires_s=expires_s)
    account = tenant.people_public if role in PEOPLE_ROLES else tenant.plant_public

    def token_of(sites: list[str]) -> str:
        tags = [("role", role), *(("path", place_subject(path)) for path in places), *(("site", s) for s in sites)]
        claims = user_claims(key.public, name, account, tags=tags, expires_s=expires_s)
        return sign_claims(claims, KeyPair(tenant.below[role] if places else tenant.roles[role]), now_s)

    sites = {site.name: site.place for site in tenant.sites.values() if site.revoked_s is None}
    token, _ = fitting_token(sites_in(sites, places), token_of)
    tenant.users[name] = user
    return user, token if role == "device" else format_creds(token, key.seed)


def _check_paths(tenant: Tenant, role: Role, paths: Sequence[str]) -> list[str]:
    """The paths of a person, within its tenant."""
    if not paths:
        return []
    if role not in PEOPLE_ROLES or len(paths) > PATHS_COUNT_MAX:
        raise ConfigError(
            "no paths for this user", expected=f"at most {PATHS_COUNT_MAX}, of a {', '.join(PEOPLE_ROLES)}",
            got=f"{len(paths)} of a {role}", code="MS-2103",
        )  # fmt: skip
    root = AssetPath.parse(tenant.place)
    found = [_check_place(path) for path in paths]
    for path in found:
        if not root.contains(path):
            raise ConfigError(
                "the path is not in the tenant's place", expected=f"{tenant.place} or below", got=str(path),
                code="MS-2103",
            )  # fmt: skip
    return [str(path) for path in found]


def revoke_site(tenant: Tenant, name: str, keys: list[str], now_s: int) -> Site:
    """Lock out the edge keys of a site, and whoever has a join file of it."""
    site = find_site(tenant, name)
    site.revoked_s = now_s
    for public in (*keys, *(token.public for token in site.tokens)):
        tenant.revoked[public] = now_s
    return site


def restore_site(tenant: Tenant, name: str, keys: list[str]) -> Site:
    """Let the edge in again that was locked out; join files stay locked out."""
    site = find_site(tenant, name)
    site.revoked_s = None
    for public in keys:
        tenant.revoked.pop(public, None)
    return site


def revoke_user(tenant: Tenant, name: str, now_s: int) -> User:
    """Lock out a user. Raises NotFoundError."""
    if name not in tenant.users:
        raise NotFoundError("no user of this name", where=tenant.name, got=name)
    user = tenant.users[name]
    user.revoked_s = now_s
    tenant.revoked[user.public] = now_s
    return user


def restore_user(tenant: Tenant, name: str) -> User:
    """Let a user in again."""
    if name not in tenant.users:
        raise NotFoundError("no user of this name", where=tenant.name, got=name)
    user = tenant.users[name]
    user.revoked_s = None
    tenant.revoked.pop(user.public, None)
    return user


def _check_name(name: str, what: str) -> None:
    if not _NAME.match(name) or len(name) > NAME_LENGTH_MAX or name in _RESERVED:
        raise ConfigError(
            f"not a name for a {what}", expected=f"letters, digits, _ and -, at most {NAME_LENGTH_MAX}, not reserved",
            got=repr(name[:80]), code="MS-2103",
        )  # fmt: skip


def _check_place(text: str) -> AssetPath:
    try:
        path = AssetPath.parse(text)
        if {".", ".."} & set(path.levels):
            raise DecodeError("a level that points elsewhere", expected="names", got=text[:80])
        return path
    except DecodeError as error:
        raise ConfigError(
            "not a place", expected="such as acme/cologne", got=repr(text[:80]), code="MS-2103"
        ) from error
