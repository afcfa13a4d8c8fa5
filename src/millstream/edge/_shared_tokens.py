"""New tokens for the link to the hub, at a site of several boxes: the hub gives all of them to the box that works, and
that one keeps them where each box finds its own.

They are no secret: each is of use to the box that has its key. A box that was off finds them when it is back, though
the hub does not let it in before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from millstream.bus import CLUSTER_BUCKET, CLUSTER_PREFIX, StreamApi, Transport, decode_answer
from millstream.kernel import PlantError
from millstream.protocols.nats_wire import WireMessage
from millstream.sdk import Log

SUBJECT = f"{CLUSTER_PREFIX}uplink_tokens"
STORE_S = 0.5  # the hub waits a second for the answer
LOOK_S = 30.0  # what is stored while the link to the own server is gone is not heard
RETRY_S = 1.0


class SharedTokens:
    """One box's part: `store` at the one that works, `run` at each. `take` looks for the box's own among them."""

    def __init__(self, connection: Transport, take: Callable[[bytes], object], log: Log) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._take = take
        self._log = log
        self._heard: list[bytes] = []
        self._tried = b""
        self._wake = asyncio.Event()

    async def store(self, payload: bytes) -> None:
        """Keep them for the other boxes. Without a majority those that are there hear them all the same."""
        try:
            decode_answer((await self._connection.request(SUBJECT, payload, timeout_s=STORE_S))[4], where=SUBJECT)
        except PlantError as error:
            self._log.warning("new tokens for the uplink are not kept for a box that is away", error=str(error))

    async def run(self) -> None:
        """Take what the hub gave to this box, until cancelled."""
        sid = self._connection.subscribe(SUBJECT, self._hear)
        try:
            while True:
                wait_s = LOOK_S if await self._look() else RETRY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                self._wake.clear()
                heard, self._heard = self._heard, []
                for payload in heard[-1:]:
                    await self._try(payload)
        finally:
            self._connection.unsubscribe(sid)

    async def _look(self) -> bool:
        """Whether the bucket could be asked."""
        try:
            found = await self._api.last(CLUSTER_BUCKET, SUBJECT)
        except PlantError:  # no majority, or no bucket yet
            return False
        if found is not None:
            await self._try(found.payload)
        return True

    async def _try(self, payload: bytes) -> None:
        if payload == self._tried:
            return
        self._tried = payload
        try:
            await asyncio.to_thread(self._take, payload)
        except PlantError as error:
            self._log.warning("no new token for this box", error=str(error))

    def _hear(self, messages: list[WireMessage]) -> None:
        self._heard = [bytes(messages[-1][4])]
        self._wake.set()
