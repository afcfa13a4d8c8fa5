"""``tenant rekey``: new signing keys, when somebody may have an old one."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from millstream.cli._keys import NO_KEYS, Keys, now_s, who
from millstream.cli._options import Json
from millstream.cli._output import OK, note, print_json, print_text

Names = Annotated[list[str] | None, Parameter(name="--key", negative="")]


def rekey(name: str, /, *, key: Names = None, keys: Keys = NO_KEYS, json: Json = False) -> int:
    """Replace a tenant's signing keys: what the old ones signed opens nothing any more.

    Sites that are connected when the hub takes the file get a new token over the link, for the key that they have, and
    go on; one that is away needs a new join file. People, programs and devices whose credentials an old key signed are
    locked out: add them again. No identity is needed, so it works with a key store whose identities are in a safe.

    Examples:

        millstream tenant rekey acme
        millstream tenant rekey acme --key engineer --key commander --json

    Parameters
    ----------
    name
        Of the tenant.
    key
        Which: edge, flow, device, bridge, viewer, engineer, commander, join (join files), account (the hub's own
        log-ins); may be repeated. Left out: all.
    keys
        Where.
    json
        Print an object.
    """
    from millstream.trust import find_tenant, note_change, rekey_tenant, signing_keys

    with keys.changing() as trust:
        tenant = find_tenant(trust, name)
        before = signing_keys(tenant)
        users = rekey_tenant(tenant, key or (), now_s())
        after = signing_keys(tenant)
        changed = sorted(one for one in after if after[one] != before[one])
        old, new = ({one: found[one] for one in changed} for found in (before, after))
        data = {"users_locked_out": users}
        note_change(trust, who(), "tenant_rekeyed", name, name, data, now_s(), before=old, after=new)
    if json:
        print_json({"tenant": name, "keys": new, "users_locked_out": users})
    else:
        print_text(f"tenant {name}: {len(changed)} new keys; locked out: {', '.join(users) or 'nobody'}")
    note("a site that is away now needs a new join file (`millstream site add`): site.left_out in the audit names them")
    note("copies of the key store hold the old keys: `millstream operator export` makes a new one")
    return OK
