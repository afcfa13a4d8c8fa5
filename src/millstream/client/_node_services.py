"""Which nodes answer from here, how they are, and whose clocks differ."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from contextlib import aclosing
from typing import Any

from millstream.bus._link import Link
from millstream.client._node import NodeAddress
from millstream.client._streams import Streams
from millstream.kernel import Clock, DecodeError, Unreachable
from millstream.protocols.cloudevents import parse_time_ns

STATUS_QUIET_S = 0.5  # nodes that have not answered by then are listed as away


class NodeServices:
    """The micro services of the nodes that can be seen over one link."""

    def __init__(self, link: Link, address: NodeAddress) -> None:
        self._link, self._address = link, address

    async def all(self) -> list[Mapping[str, Any]]:
        """What each service says of itself."""
        found = []
        request = self._link.request_many("$SRV.INFO", quiet_s=STATUS_QUIET_S)
        async with aclosing(request) as replies:
            async for reply in replies:
                raw = json.loads(reply.payload)
                if str(raw.get("name", "")).startswith("millstream-"):
                    found.append(raw)
        return found

    async def subjects(self, what: str) -> list[str]:
        """Where nodes are asked for something, such as "status" or "write"."""
        endpoints = [e for service in await self.all() for e in service.get("endpoints") or ()]
        subjects = {str(endpoint.get("subject", "")) for endpoint in endpoints}
        return sorted(s for s in subjects if s.startswith("millstream.node.") and s.endswith(f".{what}"))

    async def statuses(self) -> list[Mapping[str, Any]]:
        """How the nodes that can be seen from here are: this one first, then by name."""
        subjects = set(await self.subjects("status"))
        if self._address.name is not None:
            subjects.add(f"millstream.node.{self._address.name}.status")
        answers = await asyncio.gather(*(self._status(subject) for subject in subjects))
        found = {str(answer.get("name")): answer for answer in answers if answer is not None}
        return sorted(found.values(), key=lambda a: (a.get("name") != self._address.name, str(a.get("name"))))

    async def of(self, names: Collection[str]) -> list[Mapping[str, Any]]:
        """How this node is, and those of the names that answer; nobody is waited for who may not be there. Where this
        node's own name is not known, all that answer."""
        if self._address.name is None:
            return await self.statuses()
        subjects = [f"millstream.node.{name}.status" for name in dict.fromkeys((self._address.name, *sorted(names)))]
        answers = await asyncio.gather(*(self._status(subject) for subject in subjects))
        return [answer for answer in answers if answer is not None]

    async def clock_skews(self, streams: Streams, clock: Clock) -> Mapping[str, float]:
        """By name: how many seconds the clocks of this node and of its hub are ahead of this machine's. What cannot be
        asked is left out. Accurate to half a round trip."""
        found: dict[str, float] = {}
        for name, prefix in ((self._address.name or "the node", "$JS.API"), ("the hub", "$JS.hub.API")):
            names = await streams.names() if prefix == "$JS.API" else ["H_LOCAL"]
            if not names or (prefix != "$JS.API" and self._address.role == "hub"):
                continue
            before_ns = clock.now_ns()
            try:
                reply = await self._link.request(f"{prefix}.STREAM.INFO.{names[0]}", timeout_s=2.0)
                server_ns = parse_time_ns(str(json.loads(reply.payload)["ts"]))
            except (Unreachable, ValueError, KeyError, DecodeError):
                continue
            found[name] = (server_ns - (before_ns + clock.now_ns()) // 2) / 1e9
        return found

    async def _status(self, subject: str) -> Mapping[str, Any] | None:
        try:
            reply = await self._link.request(subject, timeout_s=2.0)
            raw = json.loads(reply.payload)
        except (Unreachable, ValueError):
            return None
        return raw if isinstance(raw, dict) else None
