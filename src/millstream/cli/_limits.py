"""``tenant limits``: what a tenant may use of a hub, changed while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream.cli._keys import NO_KEYS, Keys, now_s, who
from millstream.cli._options import Json
from millstream.cli._output import OK, print_json, print_text

if TYPE_CHECKING:
    from millstream.trust import Limits


def limits(
    name: str, /, *, sites: int | None = None, connections: int | None = None, disk: str | None = None,
    subscriptions: int | None = None, keys: Keys = NO_KEYS, json: Json = False,
) -> int:  # fmt: skip
    """Show what a tenant may use of a hub, or change it.

    A hub that reads this key store's file takes it within a second, without a restart; who is there already stays.
    What a stream holds is never discarded by it.

    Examples:

        millstream tenant limits acme
        millstream tenant limits acme --disk 200GB --sites 50

    Parameters
    ----------
    name
        Of the tenant.
    sites
        How many edges may be connected.
    connections
        How many clients may be connected, sites and the hub's own among them.
    disk
        What its streams may take at the hub.
    subscriptions
        How many each of its connections may have.
    keys
        Where.
    json
        Print an object.
    """
    from millstream.config import parse_size
    from millstream.trust import change_limits, find_tenant, note_change, shown_tenant

    asked = {
        "sites": sites, "connections": connections, "subscriptions": subscriptions,
        "disk_bytes": None if disk is None else parse_size(disk),
    }  # fmt: skip
    changes = {key: value for key, value in asked.items() if value is not None}
    if not changes:
        return _show(name, find_tenant(keys.load(), name).limits, is_json=json)
    with keys.changing() as trust:
        tenant = find_tenant(trust, name)
        before = shown_tenant(tenant)
        change_limits(tenant, changes)
        after = shown_tenant(tenant)
        note_change(trust, who(), "limits_changed", name, name, {}, now_s(), before=before, after=after)
    return _show(name, tenant.limits, is_json=json)


def _show(name: str, limits: Limits, *, is_json: bool) -> int:
    shown = {
        "sites": limits.sites, "connections": limits.connections, "subscriptions": limits.subscriptions,
        "disk_bytes": limits.disk_bytes,
    }  # fmt: skip
    if is_json:
        print_json({"tenant": name, "limits": shown})
    else:
        print_text(f"{name}  " + "  ".join(f"{key} {value}" for key, value in shown.items()))
    return OK
