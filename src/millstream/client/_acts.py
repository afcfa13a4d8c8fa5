"""What somebody does with a node's own rights, told to the audit; what people ask of a hub's desks, those tell."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from millstream.bus import VIEW_API
from millstream.bus._link import Link
from millstream.client._flows import ask_node
from millstream.client._streams import Whom
from millstream.kernel import NotFoundError
from millstream.protocols.audit import AUDIT_TYPE
from millstream.sdk import Stored

if TYPE_CHECKING:
    from millstream.client._paths import Where


class Tell(Protocol):
    """`Plant.event`."""

    async def __call__(self, path: Where, type: str, data: Any = None, *, id: str | None = None) -> Stored:
        """Store an event."""
        ...


class Acts:
    """Each act is an event ``millstream.audit.<what>.<outcome>``. `whom` gives role and name of the node; `origin` is
    where who acts sits: this machine, or the address of the person for whom a program acts, such as a page's."""

    def __init__(self, tell: Tell, link: Link, whom: Whom) -> None:
        self._tell = tell
        self._link = link
        self._whom = whom
        self.origin = socket.gethostname()

    @property
    def is_told(self) -> bool:
        """Whether what is done here is told here: by people with log-ins of their own it is told by whom they ask."""
        return self._link.api != VIEW_API

    async def asked(
        self, what: str, data: Mapping[str, Any], *, place: str, id: str, act: Awaitable[object] | None = None
    ) -> None:  # fmt: skip
        """Store that something is asked for, and what stores that it is (`act`): both are on their way before either
        is waited for, and whoever asks again with this id is told once. Raises PlantError."""
        told = self.tell(what, "asked", data, place=place, id=f"{what}|{id}")
        for outcome in await asyncio.gather(*(() if act is None else (act,)), told, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def tell(
        self, what: str, outcome: str, data: Mapping[str, Any], *, place: str, id: str | None = None
    ) -> None:
        """Store one. Raises PlantError."""
        await self._tell(place, f"{AUDIT_TYPE}.{what}.{outcome}", dict(data), id=id or secrets.token_hex(12))

    async def place_of(self, node: str = "") -> str:
        """Where it is told: at the node's place, else where the plant begins. Raises NotFoundError."""
        places = await self._places()
        if node in places:
            return places[node]
        if not places:
            raise NotFoundError(
                "it is not known where to tell of this in the audit", where=node or None,
                expected="a site that reports to this hub",
            )  # fmt: skip
        return min(places.values()).partition("/")[0]

    async def _places(self) -> Mapping[str, str]:
        """Node -> its path: this one, and the sites of a hub."""
        raw = await ask_node(self._link, f"millstream.node.{(await self._whom())[1]}.status", b"")
        nodes = [raw, *(raw.get("edges") or ())]
        return {str(node["name"]): str(node["path"]) for node in nodes if node.get("path")}
