"""``site`` and ``user``, ``revoke`` and ``restore``: one act on one of two kinds, one way or the other.

Locking out a site asks the hub which keys joined, since each box made its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from millstream.cli._keys import NO_KEYS, Keys, now_s, who
from millstream.cli._options import Json, run
from millstream.cli._trust import told

if TYPE_CHECKING:
    from millstream.trust import Tenant


def revoke_site(name: str, /, *, tenant: str, url: str | None = None, keys: Keys = NO_KEYS, json: Json = False) -> int:
    """Lock out a site's edge and its join files, at once; the site goes on locally.

    Examples:

        millstream site revoke cologne --tenant acme --url nats://hub.example:4222
        millstream site revoke cologne --tenant acme --json

    Parameters
    ----------
    name
        Of the site.
    tenant
        Whose.
    url
        The hub's client port: it knows which keys joined; left out: MILLSTREAM_URL.
    keys
        Where.
    json
        Print an object.
    """
    return _change(_Act("site", name, tenant, is_revoked=True), keys, url, is_json=json)


def restore_site(name: str, /, *, tenant: str, url: str | None = None, keys: Keys = NO_KEYS, json: Json = False) -> int:
    """Let a site's edge in again; its join files stay locked out.

    Examples:

        millstream site restore cologne --tenant acme --url nats://hub.example:4222
        millstream site restore cologne --tenant acme --json

    Parameters
    ----------
    name
        Of the site.
    tenant
        Whose.
    url
        The hub's client port; left out: MILLSTREAM_URL.
    keys
        Where.
    json
        Print an object.
    """
    return _change(_Act("site", name, tenant, is_revoked=False), keys, url, is_json=json)


def revoke_user(name: str, /, *, tenant: str, keys: Keys = NO_KEYS, json: Json = False) -> int:
    """Lock out a user, at once.

    Examples:

        millstream user revoke ann --tenant acme
        millstream user revoke ann --tenant acme --json

    Parameters
    ----------
    name
        Of the user.
    tenant
        Whose.
    keys
        Where.
    json
        Print an object.
    """
    return _change(_Act("user", name, tenant, is_revoked=True), keys, is_json=json)


def restore_user(name: str, /, *, tenant: str, keys: Keys = NO_KEYS, json: Json = False) -> int:
    """Let a user in again.

    Examples:

        millstream user restore ann --tenant acme
        millstream user restore ann --tenant acme --json

    Parameters
    ----------
    name
        Of the user.
    tenant
        Whose.
    keys
        Where.
    json
        Print an object.
    """
    return _change(_Act("user", name, tenant, is_revoked=False), keys, is_json=json)


@dataclass(frozen=True)
class _Act:
    """Lock out, or let in again."""

    kind: Literal["site", "user"]
    name: str
    tenant: str
    is_revoked: bool


def _change(act: _Act, keys: Keys, url: str | None = None, *, is_json: bool) -> int:
    from millstream.trust import find_tenant, note_change, shown_site, shown_user

    joined = _joined(act, keys, url) if act.kind == "site" else []
    with keys.changing() as trust:
        tenant = find_tenant(trust, act.tenant)

        def shown() -> dict[str, Any] | None:
            """How it stands."""
            if act.kind == "site":
                return shown_site(tenant.sites.get(act.name))
            return shown_user(tenant.users.get(act.name))

        before = shown()
        publics = _applied(act, tenant, joined)
        action = f"{act.kind}_{'revoked' if act.is_revoked else 'restored'}"
        data = {"keys": publics}
        note_change(trust, who(), action, act.tenant, act.name, data, now_s(), before=before, after=shown())
    count = f"{len(publics)} key{'s' if len(publics) != 1 else ''}"
    text = f"{act.kind} {act.name}: {count} {'locked out' if act.is_revoked else 'let in'}"
    told_of = {act.kind: act.name, "tenant": act.tenant, "keys": publics, "revoked": act.is_revoked}
    return told(told_of, text, is_json=is_json)


def _joined(act: _Act, keys: Keys, url: str | None) -> list[str]:
    """The keys of the boxes that joined as this site, from the hub."""
    from millstream.client import joined_keys
    from millstream.trust import find_site, find_tenant

    trust = keys.load()
    tenant = find_tenant(trust, act.tenant)
    return run(joined_keys(trust, tenant, find_site(tenant, act.name), url))


def _applied(act: _Act, tenant: Tenant, joined: list[str]) -> list[str]:
    """The public keys that are locked out from now on, or let in."""
    from millstream.trust import restore_site, restore_user, revoke_site, revoke_user

    if act.kind == "user":
        user = revoke_user(tenant, act.name, now_s()) if act.is_revoked else restore_user(tenant, act.name)
        return [user.public]
    if act.is_revoked:
        revoke_site(tenant, act.name, joined, now_s())
    else:
        restore_site(tenant, act.name, joined)
    return joined
