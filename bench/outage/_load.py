"""A steady load on the edge's stream."""

from __future__ import annotations

import asyncio
import time

from millstream.bus import FastIngestPublisher, GroupCommitPublisher
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Message

PERIOD_S = 0.02  # between two submissions
TAGS_COUNT = 1000
SUBJECT = "uns.v1.acme.plant1.press._tag.t%d"
LEDGER = "uns.v1.acme.plant1._ledger.bench.load"

Publisher = GroupCommitPublisher | FastIngestPublisher


class Load:
    """`rate` one-sample messages a second until `stop`; the values count 1, 2, 3 over all tags."""

    def __init__(self, publisher: Publisher, rate: int) -> None:
        self._publisher = publisher
        self._rate = rate
        self._is_stopped = False
        self.sent = 0

    async def run(self) -> None:
        """Send at the pace of the clock; what was late is made up for."""
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        while not self._is_stopped:
            due = int((clock() - begun_s) * self._rate) - self.sent
            while due > 0:
                count = min(due, 500)
                await self._publisher.submit([self._next() for _ in range(count)])
                due -= count
            await asyncio.sleep(PERIOD_S)
        await self._publisher.flush()

    def _next(self) -> Message:
        self.sent += 1
        now_ns = time.time_ns()
        payload = encode_sample(float(self.sent), quality=0, source_time_ns=now_ns, ingest_time_ns=now_ns)
        return Message(SUBJECT % (self.sent % TAGS_COUNT), payload)

    def stop(self) -> None:
        """End after what is queued is stored."""
        self._is_stopped = True
