"""Which of the operator's acts the audit has: kept beside the hub's copy of the operator's file, at a hub of several
boxes in the cluster, so that whoever starts or leads next goes on behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from millstream.bus import CLUSTER_BUCKET, CLUSTER_PREFIX, RawConnection, StreamApi, decode_answer, write_private
from millstream.kernel import Clock, FencedError, PlantError
from millstream.trust import HubTrust

SUBJECT = f"{CLUSTER_PREFIX}told"
LOOK_INTERVAL_S = 0.1


class Told(msgspec.Struct, frozen=True):
    """The acts up to this serial are in the audit."""

    serial: int


class Mark(Protocol):
    """Where it is kept."""

    async def find(self) -> int | None:
        """The serial; None: nothing was ever told. Raises PlantError."""
        ...

    async def note(self, serial: int) -> int:
        """Put it there; what stands there then. Raises PlantError."""
        ...


class FileMark:
    """Of a hub that is one box."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def find(self) -> int | None:
        """See Mark. What cannot be read is none."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Told).serial
        except (OSError, msgspec.DecodeError):
            return None

    async def note(self, serial: int) -> int:
        """See Mark."""
        await asyncio.to_thread(write_private, self._path, msgspec.json.encode(Told(serial)).decode())
        return serial


class BucketMark:
    """Of a cluster: only behind what was read, so that a member that leads no longer, and has not noticed, notes
    nothing."""

    def __init__(self, provider: RawConnection) -> None:
        self._provider = provider
        self._api = StreamApi(provider)
        self._seq = 0

    async def find(self) -> int | None:
        """See Mark."""
        found = await self._api.last(CLUSTER_BUCKET, SUBJECT)
        self._seq = 0 if found is None else found.seq
        return None if found is None else msgspec.json.decode(found.payload, type=Told).serial

    async def note(self, serial: int) -> int:
        """See Mark."""
        lines = f"Nats-Expected-Last-Subject-Sequence: {self._seq}\r\n"
        answer = await self._provider.request(SUBJECT, msgspec.json.encode(Told(serial)), header_lines=lines.encode())
        try:
            self._seq = int(decode_answer(answer[4], where=SUBJECT)["seq"])
        except FencedError:  # another has told, or this one has, without an answer: from there on
            return await self.find() or 0
        return serial


class ToldChanges:
    """`tell` stores what the operator did since the file of a serial, each act under a name of its own. Killed between
    telling and noting, an act is told again, and the streams know its name for two minutes: none is not told."""

    def __init__(self, mark: Mark, trust: Callable[[], HubTrust], tell: Callable[[int], Awaitable[None]]) -> None:
        self._mark = mark
        self._trust = trust
        self._tell = tell
        self._told = 0

    async def begin(self) -> None:
        """Where the one before was. What was done before there was a hub is its beginning, not news. Raises
        PlantError."""
        found = await self._mark.find()
        self._told = await self._mark.note(self._trust().serial) if found is None else found

    async def run(self, clock: Clock) -> None:
        """Tell what is new, until cancelled; after `begin`."""
        while True:
            with contextlib.suppress(PlantError):  # no majority just now: looked at again
                await self._look()
            await clock.sleep(LOOK_INTERVAL_S)

    async def _look(self) -> None:
        serial = self._trust().serial
        if serial > self._told:
            await self._tell(self._told)
            self._told = await self._mark.note(serial)
