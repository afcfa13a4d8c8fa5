"""Who may see what: each request comes through a door, which gives it a view."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from millstream.api._request import FORBIDDEN
from millstream.historian import HistorianStats, HistoryView
from millstream.kernel import AuthError
from millstream.protocols.ledger import OriginAccount

if TYPE_CHECKING:
    from starlette.requests import Request

    from millstream.historian import HistorianService

NodeStatus = Callable[[], Awaitable[Mapping[str, Any]]]


def _untold(what: str) -> None:
    """Nobody keeps it."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, as the audit names it, in which role and from which address; no `paths`: everywhere. `refused` tells
    the audit what a role may not do."""

    who: str
    role: str
    tenant: str | None = None
    paths: tuple[str, ...] = ()
    origin: str = ""
    refused: Callable[[str], None] = _untold


@dataclass(frozen=True, slots=True)
class View:
    """What one request may see. `sites` are the edges whose accounts it may see, when it does not see everything."""

    historian: HistorianService
    history: HistoryView
    actor: Actor
    status: NodeStatus | None = None
    sites: tuple[str, ...] = ()

    def ledger(self) -> dict[str, OriginAccount]:
        """The recount of each origin that is seen."""
        found = self.historian.ledger()
        if self.history.is_whole:
            return found
        return {origin: account for origin, account in found.items() if self._sees_origin(origin)}

    async def report(self) -> dict[str, Any]:
        """The node's status; of some paths only: which sites are there, and when they were heard last."""
        node = dict(await self.status()) if self.status is not None else None
        if self.history.is_whole:
            return {"node": node, "historian": asdict(await self.historian.stats())}
        if node is not None:
            edges = [edge for edge in node.get("edges", ()) if edge["name"] in self.sites]
            node = {**{key: node.get(key) for key in ("role", "name", "tenant", "version")}, "edges": edges}
        return {"node": node, "historian": None}

    async def stats(self) -> HistorianStats:
        """Of the whole history. Raises AuthError."""
        if not self.history.is_whole:
            raise AuthError("not for some paths only", expected="a log-in for the whole tenant", code=FORBIDDEN)
        return await self.historian.stats()

    def _sees_origin(self, origin: str) -> bool:
        return any(re.fullmatch(rf"E_{re.escape(site)}_(I|T|F|MQTT|DLQ)(_g\d+)?", origin) for site in self.sites)


class Door(Protocol):
    """Lets requests in."""

    async def admit(self, request: Request) -> View:
        """What it may see. Raises AuthError."""
        ...

    def is_healthy(self) -> bool:
        """Whether what is behind it stores."""
        ...


def bearer_of(request: Request) -> str | None:
    """The token of an Authorization header; None without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
