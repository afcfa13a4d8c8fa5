"""Which of the operator's acts the audit of a hub of several boxes has: kept in the cluster, so that whoever leads goes
on behind them."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import msgspec

from millstream.bus import CLUSTER_BUCKET, CLUSTER_PREFIX, RawConnection, StreamApi, decode_answer
from millstream.kernel import Clock, FencedError, PlantError
from millstream.trust import HubTrust

SUBJECT = f"{CLUSTER_PREFIX}told"
LOOK_INTERVAL_S = 0.1


class Told(msgspec.Struct, frozen=True):
    """The acts up to this serial are in the audit."""

    serial: int


class ToldChanges:
    """`tell` stores what the operator did since the file of a serial. A member that is killed between telling and
    noting leaves acts that are told twice, none that is not told."""

    def __init__(
        self, provider: RawConnection, trust: Callable[[], HubTrust], tell: Callable[[int], Awaitable[None]]
    ) -> None:  # fmt: skip
        self._provider = provider
        self._api = StreamApi(provider)
        self._trust = trust
        self._tell = tell
        self._told = self._seq = 0

    async def begin(self) -> None:
        """Where the one before was. What was done before there was a hub is its beginning, not news. Raises
        PlantError."""
        found = await self._api.last(CLUSTER_BUCKET, SUBJECT)
        self._seq = 0 if found is None else found.seq
        if found is None:
            await self._note(self._trust().serial)
        else:
            self._told = msgspec.json.decode(found.payload, type=Told).serial

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
            await self._note(serial)

    async def _note(self, serial: int) -> None:
        """Only behind what was read: a member that leads no longer, and has not noticed, notes nothing."""
        lines = f"Nats-Expected-Last-Subject-Sequence: {self._seq}\r\n"
        answer = await self._provider.request(SUBJECT, msgspec.json.encode(Told(serial)), header_lines=lines.encode())
        try:
            self._seq = int(decode_answer(answer[4], where=SUBJECT)["seq"])
            self._told = serial
        except FencedError:  # another has told, or this one has, without an answer: from there on
            found = await self._api.last(CLUSTER_BUCKET, SUBJECT)
            if found is not None:
                self._seq, self._told = found.seq, msgspec.json.decode(found.payload, type=Told).serial
