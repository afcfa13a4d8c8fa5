"""Where configurations of sites are read and written: in the hub's bucket, by who may; else by asking the hub below the
paths of one's log-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from millstream.bus import VIEW_API
from millstream.bus._link import Frame, Link
from millstream.bus._streams import CONFIG, CONFIG_PREFIX
from millstream.client._acts import Acts
from millstream.client._desk_tools import DeskTools
from millstream.client._desks import ask_desk, places_of
from millstream.client._flows import ask_node
from millstream.client._streams import Streams, Whom, refuse
from millstream.kernel import DecodeError, NotFoundError, PlantError, Unreachable
from millstream.protocols.audit import put_name
from millstream.protocols.below import CONFIG as CONFIG_DESK
from millstream.protocols.below import place_subject
from millstream.protocols.config_desk import SEQ, STALE, ConfigAsk
from millstream.protocols.module import MODULES, info_subject
from millstream.protocols.site_config import Revision, decode_revision

WRONG_LAST_SEQUENCE = frozenset({10071, 10164})  # the second of a cluster, while another write is under way
REPORT_TIMEOUT_S = 2.0

Kept = tuple[int, bytes]
"""A revision as it is stored, and its sequence."""


class ConfigBook(Protocol):
    """What is kept of configurations, as one log-in may see it. All raise Unreachable and NotFoundError."""

    async def sites(self) -> Mapping[str, str]:
        """Edge -> its path."""
        ...

    async def read(self, edge: str) -> list[Kept]:
        """What is kept for a site, oldest first."""
        ...

    async def report(self, edge: str) -> Mapping[str, Any] | None:
        """What a site says that it runs; None when it does not answer."""
        ...

    async def store(self, edge: str, revision: bytes, last_seq: int) -> bool:
        """Make it the newest; False when there is something newer than `last_seq`."""
        ...

    async def missing(self, digests: Collection[str]) -> list[str]:
        """The modules that the hub does not have."""
        ...


def book_of(tools: DeskTools) -> ConfigBook:
    """The one for this log-in: people have no bucket."""
    link = tools.streams.link
    return DeskBook(link) if link.api == VIEW_API else BucketBook(link, tools.streams, tools.whom, tools.acts)


@dataclass(frozen=True, slots=True)
class BucketBook:
    """`ConfigBook` by the hub's own rights. `whom` gives role and name of the node, `acts` the audit."""

    link: Link
    streams: Streams
    whom: Whom
    acts: Acts

    async def sites(self) -> Mapping[str, str]:
        """See ConfigBook."""
        role, node = await self.whom()
        if role != "hub":
            raise NotFoundError(
                "an edge keeps no configurations of sites", where=node, next_step="name the hub", code="MS-2415"
            )
        raw = await ask_node(self.link, f"millstream.node.{node}.status", b"")
        return {str(edge["name"]): str(edge["path"]) for edge in raw.get("edges") or ()}

    async def read(self, edge: str) -> list[Kept]:
        """See ConfigBook."""
        async with aclosing(self.streams.since(CONFIG, CONFIG_PREFIX + edge, 0)) as frames:
            return [(frame.seq, frame.payload) async for frame in frames]

    async def report(self, edge: str) -> Mapping[str, Any] | None:
        """See ConfigBook."""
        try:
            return await ask_node(self.link, f"millstream.node.{edge}.config", b"", timeout_s=REPORT_TIMEOUT_S)
        except Unreachable:
            return None

    async def store(self, edge: str, revision: bytes, last_seq: int) -> bool:
        """See ConfigBook. It is told once it is stored: killed between, by the hub at its next start."""
        before = await self.streams.last(CONFIG, [CONFIG_PREFIX + edge])
        headers = {"Nats-Expected-Last-Subject-Sequence": str(last_seq)}
        answer = json.loads((await self.link.request(CONFIG_PREFIX + edge, revision, headers=headers)).payload)
        if (answer.get("error") or {}).get("err_code") in WRONG_LAST_SEQUENCE:
            return False
        refuse(answer, f"configuration of {edge}")
        await self._told(edge, before[0].payload if before else None, revision)
        return True

    async def _told(self, edge: str, before: bytes | None, after: bytes) -> None:
        from millstream.config import put_told

        place = await self.acts.place_of(edge)
        decoded = decode_revision(after, edge)
        data = await asyncio.to_thread(put_told, _revision_in(before, edge), decoded, place, self.acts.origin)
        await self.acts.tell("config", "put", data, place=place, id=put_name(edge, decoded[0].revision))

    async def missing(self, digests: Collection[str]) -> list[str]:
        """See ConfigBook."""
        return [d for d in sorted(digests) if not await self.streams.last(MODULES, [info_subject(d)])]


def _revision_in(payload: bytes | None, edge: str) -> tuple[Revision, str] | None:
    """None for what is no revision."""
    try:
        return None if payload is None else decode_revision(payload, edge)
    except DecodeError:
        return None


class DeskBook:
    """`ConfigBook` by asking: each question bears the place of the site, and the server decides whether it passes."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._places: Mapping[str, str] = {}

    async def sites(self) -> Mapping[str, str]:
        """See ConfigBook."""
        found: dict[str, str] = {}
        for place in places_of(self._link):
            (answer,) = await self._ask(place, ConfigAsk("sites"))
            found |= msgspec.json.decode(answer.payload, type=dict[str, str])
        self._places = found
        return found

    async def read(self, edge: str) -> list[Kept]:
        """See ConfigBook."""
        frames = await self._at(edge, ConfigAsk("history", edge))
        return [(int(frame.headers[SEQ]), frame.payload) for frame in frames if SEQ in frame.headers]

    async def report(self, edge: str) -> Mapping[str, Any] | None:
        """See ConfigBook."""
        (answer,) = await self._at(edge, ConfigAsk("report", edge))
        raw = json.loads(answer.payload or b"{}")
        return raw if isinstance(raw, dict) and raw and "error" not in raw else None

    async def store(self, edge: str, revision: bytes, last_seq: int) -> bool:
        """See ConfigBook."""
        try:
            await self._at(edge, ConfigAsk("put", edge, last_seq=last_seq), revision)
        except PlantError as error:
            if error.code == STALE:
                return False
            raise
        return True

    async def missing(self, digests: Collection[str]) -> list[str]:
        """See ConfigBook."""
        (answer,) = await self._ask(places_of(self._link)[0], ConfigAsk("missing", modules=tuple(sorted(digests))))
        return msgspec.json.decode(answer.payload, type=list[str])

    async def _at(self, edge: str, ask: ConfigAsk, body: bytes = b"") -> list[Frame]:
        if edge not in self._places:
            await self.sites()
        if edge not in self._places:
            raise NotFoundError("the hub has no such site", got=repr(edge)[:80], code="MS-2415")
        return await self._ask(place_subject(self._places[edge]), ask, body)

    async def _ask(self, place: str, ask: ConfigAsk, body: bytes = b"") -> list[Frame]:
        return await ask_desk(self._link, CONFIG_DESK, place, ask, body)
