"""A steady load on the edge's stream, and the age of its live copies at the hub."""

from __future__ import annotations

import asyncio
import time

import msgspec

from millstream.bus import FastIngestPublisher, GroupCommitPublisher, RawConnection
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.uns_payload import SampleRecord, encode_sample
from millstream.sdk import Message

PERIOD_S = 0.02  # between two submissions
TAGS_COUNT = 1000
AGES_COUNT_MAX = 5_000_000
SUBJECT = "uns.v1.acme.plant1.press._tag.t%d"
LEDGER = "uns.v1.acme.plant1._ledger.bench.load"
_decoder = msgspec.json.Decoder(SampleRecord)

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


class LiveAges:
    """Notes the age of each live value when it arrives, in ms, with the time of arrival."""

    def __init__(self, connection: RawConnection) -> None:
        self.ages: list[tuple[float, float]] = []
        self._clock = asyncio.get_running_loop().time
        connection.subscribe("live.uns.v1.>", self._on_batch)

    def _on_batch(self, messages: list[WireMessage]) -> None:
        now_ns, now_s = time.time_ns(), self._clock()
        for _, subject, _, _, payload in messages:
            if b"._tag." in subject and len(self.ages) < AGES_COUNT_MAX:
                self.ages.append((now_s, (now_ns - _decoder.decode(payload).ingest_ns) / 1e6))

    def between(self, first_s: float, last_s: float) -> list[float]:
        """The ages of what arrived in this time, ascending."""
        return sorted(age for at, age in self.ages if first_s <= at < last_s)
