"""Configurations that were put and not told, since whoever put them was killed between. `_told_acts` says when it is
looked for them.

Whoever puts one tells it, from where, too; told here it bears the same name, so that the stream takes it once. A hub
looks at each site's newest revision and at the newest one that the audit has of that site, at its place or the
tenant's: one that was not told is missed when the next one of its site was, within that minute.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import msgspec

from millstream.bus import CONFIG, CONFIG_PREFIX, HUB_LOCAL, StreamApi, get_all
from millstream.config import put_told
from millstream.hub._desk import DeskAround
from millstream.hub._kept_configs import PAGE_BYTES, kept_configs, revision_in
from millstream.kernel import beside_one_another
from millstream.model import AssetPath
from millstream.protocols.audit import AUDIT_TYPE, put_name
from millstream.protocols.site_config import Revision
from millstream.protocols.uns_subject import UnsAddress, encode_subject
from millstream.sdk import Received

SITES_AT_ONCE = 8
Known = tuple[Revision, str]


class ToldConfigs:
    """`place` is the tenant's."""

    def __init__(self, around: DeskAround, place: str) -> None:
        self._around, self._place = around, place
        self._api = StreamApi(around.connection)

    async def look(self) -> None:
        """Once. Raises PlantError."""
        since_ns = (await self._api.state(HUB_LOCAL)).first_time_ns
        places, by_desks = self._around.places(), await self._told_by_desks()
        await beside_one_another(
            lambda edge: self._look_at(edge, places[edge], since_ns, by_desks.get(edge, 0)), list(places),
            at_once=SITES_AT_ONCE,
        )  # fmt: skip

    async def _look_at(self, edge: str, place: str, since_ns: int, by_desks: int) -> None:
        """One site. What was stored before `since_ns` may have been told: the stream reaches back no further."""
        last = await self._api.last(CONFIG, CONFIG_PREFIX + edge)
        newest = await asyncio.to_thread(revision_in, last, edge)
        if last is None or newest is None or last.stored_time_ns < since_ns:
            return
        told = max(by_desks, await self._newest_told(edge, place))
        if newest[0].revision <= told:
            return
        before: Known | None = None
        async for message in kept_configs(self._around.connection, edge):
            after = await asyncio.to_thread(revision_in, message, edge)
            if after is None:
                continue
            is_due = after[0].revision > told and message.stored_time_ns >= since_ns
            if is_due and not after[0].rollout:  # what a roll-out releases was told as the roll-out
                data = await asyncio.to_thread(put_told, before, after, place, "")
                name = f"/{place}|{put_name(edge, after[0].revision)}"
                await self._around.audit.tell("config", "put", data, name)
            before = after

    async def _newest_told(self, edge: str, place: str) -> int:
        """At the site's place, by who puts with the hub's own rights."""
        found = await self._api.last(HUB_LOCAL, _subject(place))
        of, revision = ("", 0) if found is None else _revision_told(found)
        return revision if of == edge else 0

    async def _told_by_desks(self) -> dict[str, int]:
        """Edge -> the newest revision that is told at the tenant's place: by the hub's desk, and here."""
        newest: dict[str, int] = {}
        messages = get_all(self._around.connection, HUB_LOCAL, _subject(self._place), bytes_max=PAGE_BYTES)
        async with aclosing(messages) as stored:
            async for message in stored:
                edge, revision = _revision_told(message)
                newest[edge] = max(revision, newest.get(edge, 0))
        return newest


def _subject(place: str) -> str:
    names = (*AUDIT_TYPE.split("."), "config", "put")
    return encode_subject(UnsAddress(AssetPath.parse(place), "_event", names))


def _revision_told(message: Received) -> tuple[str, int]:
    """Edge and number; ("", 0) for another program's event."""
    try:
        raw = msgspec.json.decode(message.payload)
        return str(raw["edge"]), int(raw["after"]["revision"])
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError):
        return "", 0
