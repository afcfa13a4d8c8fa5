"""New signing keys for a tenant: what somebody may have of the old ones opens nothing any more. Pure changes of state.

The accounts keep their identity, so data, exports and pins stay as they are. A token that an old key signed is refused
as soon as the hub's server has the account's new token, since that no longer names the key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from millstream.kernel import ConfigError
from millstream.protocols.nats_jwt import KeyPair
from millstream.trust._issue import new_key
from millstream.trust._state import PEOPLE_ROLES, PLANT_ROLES, Tenant

ACCOUNT_KEYS = "account"
JOIN_KEY = "join"
KEY_NAMES: tuple[str, ...] = (*PLANT_ROLES, *PEOPLE_ROLES, JOIN_KEY, ACCOUNT_KEYS)
"""Of a tenant: its roles, what signs join files, and what signs the hub's own log-ins."""


def signing_keys(tenant: Tenant) -> dict[str, str]:
    """The public key by which each name signs."""
    found = {str(role): KeyPair(seed).public for role, seed in tenant.roles.items()}
    found |= {f"{role} below": KeyPair(seed).public for role, seed in tenant.below.items()}
    return found | {
        JOIN_KEY: KeyPair(tenant.join_key).public, ACCOUNT_KEYS: KeyPair(tenant.plant_signing).public,
        f"{ACCOUNT_KEYS} of people": KeyPair(tenant.people_signing).public,
    }  # fmt: skip


def rekey_tenant(
    tenant: Tenant, names: Sequence[str], now_s: int, fresh: Callable[[int], bytes] = os.urandom
) -> list[str]:
    """New keys for these (`KEY_NAMES`; none: all). The users whose credentials an old one signed are locked out, so
    that they can be added anew; their names. Raises ConfigError."""
    for name in names:
        if name not in KEY_NAMES:
            raise ConfigError("no signing key of this name", got=name, expected=", ".join(KEY_NAMES), code="MS-2103")
    wanted = set(names or KEY_NAMES)
    for role in (*PLANT_ROLES, *PEOPLE_ROLES):
        if role in wanted:
            tenant.roles[role] = new_key("account", fresh).seed
            if role in tenant.below:
                tenant.below[role] = new_key("account", fresh).seed
    if JOIN_KEY in wanted:
        tenant.join_key = new_key("account", fresh).seed
    if ACCOUNT_KEYS in wanted:
        tenant.plant_signing, tenant.people_signing = (new_key("account", fresh).seed for _ in range(2))
    users = [user for user in tenant.users.values() if user.role in wanted and user.revoked_s is None]
    for user in users:
        user.revoked_s = tenant.revoked[user.public] = now_s
    return sorted(user.name for user in users)
