"""One box of several as others see it: who has the turn, how its server is, whether the next box may be stopped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal

import millstream
from millstream.bus._connection import RawConnection
from millstream.bus._credentials import Credentials
from millstream.bus._lease import Lease
from millstream.bus._node_service import node_service
from millstream.bus._server import NatsServer
from millstream.kernel import Unreachable


@dataclass(frozen=True, slots=True)
class Box:
    """The member `name` of the hub or the edge `node`; `turn` is what the status calls who has the lease, `login` how
    it enters the account where the lease is (None: as the node's own clients do)."""

    role: Literal["hub", "edge"]
    node: str
    name: str
    turn: Literal["leader", "works"]
    server: NatsServer
    login: Credentials | None = None

    def connection(self) -> RawConnection:
        """In the account where the lease is; to be entered."""
        return self.server.connection(f"{self.role} {self.node} {self.name}", self.login)

    def service(self, status: Callable[[], Awaitable[dict[str, Any]]]) -> AbstractAsyncContextManager[None]:
        """Answers `millstream.node.<node>.member.<name>` while it is entered."""
        return node_service(
            self.server.url, self.server.trusted(self.login or self.server.credentials),
            name=f"millstream-{self.role}-member",
            version=millstream.__version__,
            endpoints={"member": (f"millstream.node.{self.node}.member.{self.name}", status)},
        )  # fmt: skip

    async def is_current(self) -> bool:
        """Whether this server has all that the others have: only then may the next one be stopped."""
        try:
            return bool((await self.server.monitor("/healthz")).get("status") == "ok")
        except Unreachable:
            return False

    def status(self, lease: Lease, state: str, *, takeovers: int, is_current: bool) -> dict[str, Any]:
        """As JSON."""
        return {
            "role": f"{self.role} member",
            "name": self.node,
            "member": self.name,
            "state": state,
            self.turn: lease.holder,
            "term": lease.term,
            "trouble": lease.trouble,
            "takeovers": takeovers,
            "is_current": is_current,
            "server_restarts": self.server.restarts_count,
            "alarms": [alarm.as_dict() for alarm in self.server.alarms],
        }
