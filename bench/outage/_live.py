"""The listener at the hub as a process of its own, since it is not the one who publishes: notes the age of each live
copy at arrival, and writes them down on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from array import array
from pathlib import Path

import msgspec

from bench._nodes import plain_connection
from millstream.protocols.nats_wire import WireMessage

AGES_COUNT_MAX = 5_000_000


class _Taken(msgspec.Struct):
    ingest_ns: int


class LiveAges:
    """Pairs of (arrival in seconds of the machine's monotonic clock, age in ms)."""

    def __init__(self) -> None:
        self.pairs = array("d")
        self._decoder = msgspec.json.Decoder(_Taken)

    def take(self, messages: list[WireMessage]) -> None:
        """What arrived together has one time of arrival."""
        now_ns, now_s = time.time_ns(), time.monotonic()
        for _, subject, _, _, payload in messages:
            if b"._tag." in subject and len(self.pairs) < 2 * AGES_COUNT_MAX:
                self.pairs.extend((now_s, (now_ns - self._decoder.decode(payload).ingest_ns) / 1e6))


def read_ages(path: Path) -> list[tuple[float, float]]:
    """What a listener wrote."""
    pairs = array("d")
    pairs.frombytes(path.read_bytes())
    return list(zip(pairs[0::2], pairs[1::2], strict=True))


async def listen(node_file: Path, out: Path) -> None:
    """Until SIGTERM; one line of output once it listens."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ages = LiveAges()
    async with plain_connection(json.loads(node_file.read_text(encoding="utf-8"))) as connection:
        connection.subscribe("live.uns.v1.>", ages.take)
        print(json.dumps({"listens": True}), flush=True)
        await stop.wait()
    out.write_bytes(ages.pairs.tobytes())


if __name__ == "__main__":
    asyncio.run(listen(Path(sys.argv[1]), Path(sys.argv[2])))
