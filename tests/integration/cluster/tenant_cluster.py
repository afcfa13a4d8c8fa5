"""A hub of three boxes with tenants: three processes, one operator."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from cluster_site import DEADLINE_S, MEMBERS, Cluster
from trust_site import Operator, RawLeaf, until

from millstream.bus import Credentials, RawConnection
from millstream.kernel import PlantError

PROVIDER = "provider"


class TenantCluster(Cluster):
    """Each member watches a file of its own, as on boxes of their own; `hand_over` gives one of them the newest."""

    def __init__(self, folder: Path, *tenants: str, operator: Operator | None = None, **more: Any) -> None:
        super().__init__(folder, **{"edges": [], "historian": None, **more})
        self.operator = operator or Operator(folder)
        urls = [f"nats://127.0.0.1:{port}" for port in self.leaf_ports.values()]
        self.operator.trust.hub_url, self.operator.trust.more_urls = urls[0], urls[1:]
        self.operator.sign()
        for name in tenants:
            self.operator.tenant(name)
        self.hand_over(*MEMBERS)

    def document(self, member: str) -> dict[str, Any]:
        """The file of one member."""
        return super().document(member) | {"trust": {"file": str(self._file(member))}}

    def _file(self, member: str) -> Path:
        return self.folder / f"{member}.trust"

    def hand_over(self, *members: str) -> None:
        """The operator's newest file reaches these members."""
        for member in members:
            shutil.copyfile(self.operator.hub_file, self._file(member).with_suffix(".new"))
            self._file(member).with_suffix(".new").replace(self._file(member))

    def url(self, member: str) -> str:
        """Where clients reach one."""
        return str(json.loads((self.folder / member / "node.json").read_text(encoding="utf-8"))["nats_url"])

    @contextlib.asynccontextmanager
    async def connection(self, member: str, tenant: str = PROVIDER) -> AsyncIterator[RawConnection]:
        """The hub's own rights, at one member."""
        creds = self.folder / member / "secrets" / "tenants" / f"{tenant}.creds"
        login = Credentials(creds_file=creds)
        async with RawConnection(self.url(member), credentials=login, replicas=3) as connection:
            yield connection

    async def wait_taken(self, *members: str) -> None:
        """The servers of these go by the operator's newest file."""
        for member in members or tuple(self.running):

            async def is_taken(member: str = member) -> bool:
                with contextlib.suppress(PlantError):
                    async with self.connection(member) as connection:
                        answer = await connection.request(f"millstream.node.h1.member.{member}", timeout_s=2.0)
                    serial = msgspec.json.decode(answer[4])["trust_serial"]
                    return bool(serial == self.operator.trust.serial)
                return False

            await until(is_taken, f"the newest file at {member}")

    async def wait_up(self, *, other_than: str = "") -> str:
        """Wait until a member leads and all tenants are served; its name."""
        found: list[str] = []

        async def is_up() -> bool:
            status = await self.ask()
            if status is None or status["member"] == other_than:
                return False
            if status["trust_serial"] != self.operator.trust.serial or not status["tenants"]:
                return False
            found[:] = [str(status["member"])]
            return all(tenant["is_up"] for tenant in status["tenants"])

        await until(is_up, "a member leads with all tenants")
        return found[0]

    async def account(self, tenant: str, member: str) -> dict[str, Any]:
        """The ledger's account of the tenant's one site, asked at a member; empty while nobody answers."""
        with contextlib.suppress(PlantError, OSError):
            async with self.connection(member, tenant) as connection:
                answer = await connection.request("millstream.node.h1.ledger", timeout_s=2.0)
                return dict(msgspec.json.decode(answer[4]).get("E_plant1_I", {}))
        return {}

    async def wait_counted(self, tenant: str, sent: int) -> None:
        """Wait until each member that runs says that all that the site sent is there, once and in order."""
        for member in self.running:

            async def is_all(member: str = member) -> bool:
                account = await self.account(tenant, member)
                if account.get("messages", 0) < sent:
                    return False
                assert account["is_clean"], account
                return True

            await until(is_all, f"{sent} messages of {tenant} at {member}")

    async def is_refused(self, member: str, creds: str) -> bool:
        """Whether a leaf with these credentials is turned away."""
        async with RawLeaf(self.leaf_ports[member], creds) as leaf:
            return await leaf.read("Authorization Violation", DEADLINE_S)


@contextlib.asynccontextmanager
async def running_tenants(folder: Path, *tenants: str, **more: Any) -> AsyncIterator[TenantCluster]:
    """Three members, while in the scope; `more` is in their files."""
    cluster = TenantCluster(folder, *tenants, **more)
    try:
        await cluster.start(*MEMBERS)
        yield cluster
    finally:
        await cluster.stop_all()
