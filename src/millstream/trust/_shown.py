"""How what an operator keeps stands, as its audit may have it: no seed, no token. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from millstream.protocols.audit import act_data
from millstream.trust._state import Change, Site, Tenant, Trust, User


def shown_tenant(tenant: Tenant) -> dict[str, Any]:
    """Where it is, and what it may use."""
    return {"place": tenant.place, "limits": msgspec.to_builtins(tenant.limits)}


def shown_site(site: Site | None) -> dict[str, Any] | None:
    """None: it is not there."""
    if site is None:
        return None
    return {
        "place": site.place, "labels": dict(site.labels), "join_files": len(site.tokens),
        "is_locked_out": site.revoked_s is not None,
    }  # fmt: skip


def shown_user(user: User | None) -> dict[str, Any] | None:
    """None: it is not there."""
    if user is None:
        return None
    return {
        "role": user.role, "key": user.public, "paths": list(user.paths), "expires_s": user.expires_s,
        "is_locked_out": user.revoked_s is not None,
    }  # fmt: skip


def shown_hub(trust: Trust) -> dict[str, Any]:
    """Where edges reach it."""
    return {
        "hub_url": trust.hub_url, "more_urls": list(trust.more_urls), "has_authorities": trust.certificate is not None,
        "has_identities": bool(trust.identities),
    }  # fmt: skip


def told_change(change: Change) -> dict[str, Any]:
    """The data of its audit event."""
    return act_data(
        change.who, "", change.before, change.after, subject=change.subject, tenant=change.tenant,
        serial=change.serial, time_s=change.time_s, data=change.data or None,
    )  # fmt: skip
