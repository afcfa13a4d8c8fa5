"""The operator's file at a hub of several boxes: whichever member has a newer one, all of them have it a moment later.

Each says now and then how new its own is, and whoever is behind asks for it, part by part. No majority is needed for
that: a member that comes back hears of a revocation from any one that was there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from millstream.bus import RawConnection
from millstream.hub._trust import FILE_BYTES_MAX, TrustFile, acts_digest, forked
from millstream.kernel import AuthError, Clock, PlantError, ProtocolViolation
from millstream.protocols.nats_wire import WireMessage
from millstream.trust import HubTrust, open_bundle, seal_bundle

BEAT_S = 0.5
LOOK_INTERVAL_S = 0.02
PART_BYTES = 256 << 10
PARTS_COUNT_MAX = 2 * FILE_BYTES_MAX // PART_BYTES


class Beat(msgspec.Struct, frozen=True):
    """How new the file of a member is; `acts` tells two of one serial apart ("" of an earlier version)."""

    member: str
    serial: int
    acts: str = ""


class PartAsked(msgspec.Struct, frozen=True):
    """Which part of the sealed file."""

    part: int


class Part(msgspec.Struct, frozen=True):
    """A part of the file of `serial`; `count` of them are all."""

    serial: int
    count: int
    data: bytes


class SharedTrust:
    """One member's view. `connection` is in the account of who runs the hub, where no tenant can listen or speak.
    `on_refused` hears why a file that came is not taken."""

    def __init__(
        self, connection: RawConnection, file: TrustFile, names: tuple[str, str], secret: str, clock: Clock,
        on_refused: Callable[[str], None],
    ) -> None:  # fmt: skip
        hub, self._member = names
        self._connection = connection
        self._file = file
        self._secret = secret
        self._clock = clock
        self._on_refused = on_refused
        self._beats = f"millstream.trust.{hub}.serial"
        self._door = f"millstream.trust.{hub}.member."
        self._acts: tuple[HubTrust | None, str] = (None, "")
        self._sealed: tuple[int, bytes] = (-1, b"")
        self._ahead: Beat | None = None
        self._refused: Beat | None = None
        self._heard: dict[str, int] = {}
        self._wake = asyncio.Event()

    def listen(self) -> None:
        """From now on answer the others, and hear them."""
        self._connection.subscribe(self._beats, self._hear)
        self._connection.subscribe(self._door + self._member, self._give)

    async def run(self) -> None:
        """Say how new the own file is, and take a newer one; until cancelled."""
        while True:
            with contextlib.suppress(PlantError):  # the link is gone for a moment: said again
                self.tell()
                await self._catch_up()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._wake.wait()
            self._wake.clear()

    async def settle(self, others_count: int, patience_s: float) -> bool:
        """Take the newest that the other members have: until so many have been heard, or for so long. Whether all
        were."""
        try:
            async with asyncio.timeout(patience_s), asyncio.TaskGroup() as group:
                task = group.create_task(self.run(), name="the operator's file at the other members")
                while not self._is_settled(others_count):
                    await self._clock.sleep(LOOK_INTERVAL_S)
                task.cancel()
        except TimeoutError:
            return False
        return True

    def _is_settled(self, others_count: int) -> bool:
        newest = max(self._heard.values(), default=0)
        return len(self._heard) >= others_count and newest <= self._file.trust.serial

    def tell(self) -> None:
        """How new it is here. Raises Unreachable."""
        beat = Beat(self._member, self._file.trust.serial, self._own_acts())
        self._connection.publish(self._beats, msgspec.json.encode(beat))

    def _hear(self, messages: list[WireMessage]) -> None:
        own = self._file.trust.serial
        for message in messages:
            try:
                beat = msgspec.json.decode(message[4], type=Beat)
            except msgspec.DecodeError:
                continue  # of a later version
            if beat.member == self._member:
                continue
            self._heard[beat.member] = beat.serial
            if beat.serial == own:
                self._check_same(beat)
                continue
            if beat.serial > own:
                self._ahead = beat
            self._wake.set()  # to ask, or to say that here is a newer one

    def _own_acts(self) -> str:
        trust = self._file.trust
        if self._acts[0] is not trust:
            self._acts = (trust, acts_digest(trust))
        return self._acts[1]

    def _check_same(self, beat: Beat) -> None:
        """Tell it, once, when another member goes by another file of the same number."""
        if beat.acts in ("", self._own_acts()) or beat == self._refused:
            return
        self._refused = beat
        self._on_refused(str(forked(f"member {beat.member}", beat.serial)))

    async def _catch_up(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.serial <= self._file.trust.serial:
            return
        try:
            if self._file.offer(open_bundle(await self._fetch(ahead.member), self._secret)):
                self.tell()
        except AuthError as error:
            if ahead != self._refused:  # told once, and asked for again
                self._on_refused(str(error))
            self._refused = ahead

    async def _fetch(self, member: str) -> bytes:
        parts: list[bytes] = []
        serial, count = -1, 1
        while len(parts) < count:
            ask = msgspec.json.encode(PartAsked(len(parts)))
            answer = await self._connection.request(self._door + member, ask)
            try:
                part = msgspec.msgpack.decode(answer[4], type=Part)
            except msgspec.DecodeError as error:
                raise ProtocolViolation("not a part of the operator's file", frame=answer[4][:64]) from error
            is_new, serial = part.serial != serial, part.serial
            count = min(part.count, PARTS_COUNT_MAX)
            if is_new and parts:  # a newer one has come there meanwhile: from the start
                parts = []
            else:
                parts.append(part.data)
        return b"".join(parts)

    def _give(self, messages: list[WireMessage]) -> None:
        for message in messages:
            with contextlib.suppress(msgspec.DecodeError, PlantError):  # whoever asked asks again
                asked = msgspec.json.decode(message[4], type=PartAsked)
                if message[2]:
                    answer = msgspec.msgpack.encode(self._part(asked.part))
                    self._connection.publish(bytes(message[2]).decode("ascii"), answer)

    def _part(self, number: int) -> Part:
        serial = self._file.trust.serial
        if self._sealed[0] != serial:
            self._sealed = (serial, seal_bundle(self._file.text(), self._secret))
        sealed = self._sealed[1]
        start = max(0, number) * PART_BYTES
        return Part(serial, -(-len(sealed) // PART_BYTES), sealed[start : start + PART_BYTES])
