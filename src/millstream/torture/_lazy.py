"""A writer to a stream of the throughput class, which is acknowledged before it is synced. For the comparison."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from millstream.bus import (
    FAST_PREFIX,
    Credentials,
    FastIngestPublisher,
    RawConnection,
    StreamApi,
    StreamBounds,
    ensure_stream,
    sync_descriptions,
    throughput_stream,
)
from millstream.model import AssetPath, TagPath
from millstream.protocols.ledger import record_subject
from millstream.protocols.uns_payload import encode_sample
from millstream.protocols.uns_subject import tag_subject
from millstream.sdk import Message
from millstream.torture._site import SITE

STREAM = "TORTURE_LAZY"
BYTES_MAX = 64 << 20
PATH = f"{SITE}/lazy:n"
SUBJECT = tag_subject(TagPath.parse(PATH))
UNIT_MESSAGES = 20
PACE_S = 0.02


class LazyWriter:
    """Writes 1, 2, 3 ... and remembers which were acknowledged."""

    def __init__(self) -> None:
        self.made = 0
        self.acked: set[int] = set()

    async def run(self, node: Mapping[str, Any], data_dir: Path) -> None:
        """Write until cancelled. The stream itself is made safe first: only its newest messages are at risk."""
        credentials = Credentials(str(node["user"]), str(node["password"]))
        async with RawConnection(str(node["nats_url"]), credentials=credentials, name="torture") as connection:
            await ensure_stream(StreamApi(connection), throughput_stream(STREAM, StreamBounds(BYTES_MAX)))
            await asyncio.to_thread(sync_descriptions, data_dir)
            async with FastIngestPublisher(
                connection, STREAM, ledger_subject=record_subject(AssetPath.parse(SITE), "torture", "lazy"),
                publish_prefix=FAST_PREFIX,
            ) as publisher:  # fmt: skip
                while True:
                    numbers = range(self.made + 1, self.made + 1 + UNIT_MESSAGES)
                    self.made = numbers[-1]
                    stored = await publisher.submit([_message(n) for n in numbers])
                    stored.add_done_callback(partial(self._note, numbers))
                    await asyncio.sleep(PACE_S)

    def _note(self, numbers: range, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.acked.update(numbers)


def _message(n: int) -> Message:
    return Message(SUBJECT, encode_sample(n, quality=0, source_time_ns=n, ingest_time_ns=n))
