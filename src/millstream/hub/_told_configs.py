"""Configurations that were put and not told, since whoever put them was killed between: told by the hub, when it starts
and once nothing was put for a minute.

Whoever puts one tells it, from where, too; told here it bears the same name, so that the stream takes it once. A hub
looks at each site's newest revision and at the newest one that the audit has of that site: one that was not told is
missed when the next one of its site was, within that minute.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from millstream.bus import CONFIG, CONFIG_PREFIX, HUB_LOCAL, StreamApi
from millstream.config import put_told
from millstream.hub._desk import DeskAround
from millstream.hub._kept_configs import kept_configs, revision_in
from millstream.kernel import PlantError, beside_one_another
from millstream.model import AssetPath
from millstream.protocols.audit import AUDIT_TYPE, put_name
from millstream.protocols.site_config import Revision
from millstream.protocols.uns_subject import UnsAddress, encode_subject

SITES_AT_ONCE = 8
AGAIN_S = 5.0
QUIET_S = 60.0  # who has put something has told it by then, or never will
Known = tuple[Revision, str]


class ToldConfigs:
    """Run `run` once the plant is up."""

    def __init__(self, around: DeskAround) -> None:
        self._around = around
        self._api = StreamApi(around.connection)

    async def run(self) -> None:
        """Tell what is not told, until cancelled."""
        looked, before = -1, -1
        while True:
            pause_s = AGAIN_S
            with contextlib.suppress(PlantError):  # the server restarts: looked at again
                last = (await self._api.state(CONFIG)).last_seq
                if last != looked and before in (-1, last):
                    await self.look()
                    looked = last
                before, pause_s = last, QUIET_S
            await self._around.clock.sleep(pause_s)

    async def look(self) -> None:
        """Once. Raises PlantError."""
        since_ns = (await self._api.state(HUB_LOCAL)).first_time_ns
        places = self._around.places()
        await beside_one_another(
            lambda edge: self._look_at(edge, places[edge], since_ns), list(places), at_once=SITES_AT_ONCE
        )

    async def _look_at(self, edge: str, place: str, since_ns: int) -> None:
        """One site. What was stored before `since_ns` may have been told: the stream reaches back no further."""
        last = await self._api.last(CONFIG, CONFIG_PREFIX + edge)
        newest = await asyncio.to_thread(revision_in, last, edge)
        if last is None or newest is None or last.stored_time_ns < since_ns:
            return
        told = await self._newest_told(edge, place)
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
        names = (*AUDIT_TYPE.split("."), "config", "put")
        subject = encode_subject(UnsAddress(AssetPath.parse(place), "_event", names))
        found = await self._api.last(HUB_LOCAL, subject)
        try:
            raw = {} if found is None else msgspec.json.decode(found.payload)
            return int(raw["after"]["revision"]) if raw.get("edge") == edge else 0
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError):
            return 0
