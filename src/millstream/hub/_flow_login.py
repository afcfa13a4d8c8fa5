"""The log-in of a tenant's flow workers: the role "flow" in the tenant's account and nothing more, for a day at a time.

Workers run code that somebody wrote. What they hold can read what flows read and say what flows say; the hub's own
log-in, which may do all, never leaves the hub's process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from millstream.bus import Credentials, write_private
from millstream.kernel import AuthError, Clock
from millstream.protocols.nats_jwt import format_creds
from millstream.trust import HubTenant, new_key, program_token

LIFE_S = 86400  # the server hangs up then; a worker comes back with what the file has by that time
RENEWED_S = LIFE_S // 4
LOOK_S = 0.5  # for another key


class FlowLogin:
    """Keeps the file that workers log in with. `tenant` gives what the operator says now."""

    def __init__(self, path: Path, hub: str, tenant: Callable[[], HubTenant], clock: Clock) -> None:
        self._path = path
        self._hub = hub
        self._tenant = tenant
        self._clock = clock
        self._seed: str | None = None

    @property
    def credentials(self) -> Credentials:
        """For the workers."""
        return Credentials(creds_file=self._path)

    def renew(self) -> None:
        """Write new ones. Raises AuthError for a trust file of before, which gives the hub no key of this role."""
        tenant = self._tenant()
        seed = tenant.roles.get("flow")
        if seed is None:
            raise no_key(tenant.name, "flow")
        self._seed = seed
        key, now_s = new_key("user"), self._clock.now_ns() // 10**9
        name = f"flows of {self._hub}"
        token = program_token(
            seed, tenant.plant_public, key.public, name, "flow", now_s=now_s, expires_s=now_s + LIFE_S
        )  # fmt: skip
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self._path, format_creds(token, key.seed))

    async def run(self) -> None:
        """Renew them in time, and when another key signs, until cancelled."""
        due_ns = self._clock.monotonic_ns() + RENEWED_S * 10**9
        while True:
            await self._clock.sleep(LOOK_S)
            now_ns = self._clock.monotonic_ns()
            if now_ns >= due_ns or self._tenant().roles.get("flow", self._seed) != self._seed:
                self.renew()
                due_ns = now_ns + RENEWED_S * 10**9


def no_key(tenant: str, role: str) -> AuthError:
    """A trust file that was written before hubs were given the key of this role."""
    return AuthError(
        "the operator's file gives this hub no key for this role", where=tenant, got=role, code="MS-2105",
        next_step="write it anew with this version: any `millstream user|site|tenant` command does",
    )  # fmt: skip
