"""One measurement in a process of its own: `python -m bench.ingest._case CASE URL KIND COUNT SAMPLES` prints JSON."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bench.ingest import _bare
from millstream.bus import FastIngestPublisher, GroupCommitPublisher, RawConnection, StreamApi, StreamReader
from millstream.edge._tracing import Tracer  # what the connector's outbox does with each unit
from millstream.kernel import calm_collector
from millstream.model import Block
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block, encode_sample
from millstream.sdk import Message

STREAM = "BENCH"
SUBJECT = "uns.v1.acme.site.area._tag.spindle.load"
LEDGER = "uns.v1.acme.site._ledger.bench.publisher"
SITE = "uns.v1.acme.site"
SUBJECTS, TAGS = 4000, ("state", "count", "load", "speed")
PATTERNS = (f"{SITE}.*.*._tag.state", f"{SITE}.*.*._tag.count")
UNIT_MESSAGES = 100  # what a connector hands over at a time
TRACES = {"integrity_traced": 1_000_000_000, "integrity_all_traced": 0}  # ns between two that begin a trace


def payload(samples: int) -> bytes:
    """One JSON sample, or a block of them."""
    if samples == 1:
        time_ns = 1_700_000_000_123_456_789
        return encode_sample(21.5, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns + 1000)
    return encode_block(block(samples), ingest_time_ns=1_700_000_000_123_456_789)


def block(samples: int) -> Block:
    """A waveform of one second."""
    times = 1_700_000_000_000_000_000 + np.arange(samples, dtype=np.int64) * (1_000_000_000 // samples)
    return Block("load", times, np.sin(np.arange(samples) / 7.0))


def message(samples: int) -> Message:
    """One message to store."""
    return Message(SUBJECT, payload(samples), ARROW_TYPE if samples > 1 else None, samples)


async def publish(case: str, connection: RawConnection, count: int, samples: int) -> float:
    """Seconds for `count` messages, from the first submit until all are stored."""
    kind = GroupCommitPublisher if case.startswith("integrity") else FastIngestPublisher
    size = 1 if case.endswith("_single") else UNIT_MESSAGES if samples == 1 else 10
    data, kept = payload(samples), message(samples)
    source = block(samples) if samples > 1 else None
    tracer = Tracer(TRACES[case], b"seed") if case in TRACES else None
    async with kind(connection, STREAM, ledger_subject=LEDGER) as publisher:
        start = time.perf_counter()
        for _ in range(count // size):
            if source is not None and case == "blocks_encoded":
                unit = [
                    Message(SUBJECT, encode_block(source, ingest_time_ns=1), ARROW_TYPE, samples) for _ in range(size)
                ]
            elif samples > 1:
                unit = [kept] * size
            else:
                unit = [Message(SUBJECT, data) for _ in range(size)]
            if tracer is not None:
                unit = list(tracer.stamp(unit, time.monotonic_ns(), time.time_ns()))
            await publisher.submit(unit)
        await publisher.flush()
        return time.perf_counter() - start


async def read(connection: RawConnection, count: int, patterns: Sequence[str] = ()) -> float:
    """Seconds to read `count` messages that fit."""
    start = time.perf_counter()
    have = 0
    async with aclosing(StreamReader(connection).read(STREAM, filter_subjects=patterns)) as batches:
        async for batch in batches:
            have += len(batch)
            if have >= count:
                break
    return time.perf_counter() - start


async def publish_many_subjects(connection: RawConnection, count: int) -> None:
    """Store `count` messages of SUBJECTS tags, one after the other; a half of them fit PATTERNS."""
    data = payload(1)
    names = [f"{SITE}.line{n // 40}.machine{n // 4}._tag.{TAGS[n % 4]}" for n in range(SUBJECTS)]
    async with FastIngestPublisher(connection, STREAM, ledger_subject=LEDGER) as publisher:
        for first in range(0, count, UNIT_MESSAGES):
            unit = [Message(names[n % SUBJECTS], data) for n in range(first, first + UNIT_MESSAGES)]
            await publisher.submit(unit)
        await publisher.flush()


async def client_case(case: str, url: str, kind: str, count: int, samples: int) -> tuple[float, float]:
    """Wall and CPU seconds of one case of the data plane."""
    async with RawConnection(url) as connection:
        await make_stream(connection, kind)
        if case == "read":
            await publish("throughput", connection, count, samples)
        elif case == "read_patterns":
            await publish_many_subjects(connection, count)
        cpu = time.process_time()
        if case == "read_patterns":
            wall = await read(connection, count // 2, PATTERNS)
        elif case == "read":
            wall = await read(connection, count)
        else:
            wall = await publish(case, connection, count, samples)
        return wall, time.process_time() - cpu


async def make_stream(connection: RawConnection, kind: str) -> None:
    """The stream of the class under test."""
    flag = "allow_batched" if kind == "throughput" else "allow_atomic"
    body: dict[str, Any] = {"name": STREAM, "subjects": ["uns.v1.>"], "allow_direct": True, flag: True}
    await StreamApi(connection).request(f"STREAM.CREATE.{STREAM}", body)


async def prepare(url: str, kind: str, count: int, fill: bool) -> None:
    """What the bare loop needs to be there."""
    async with RawConnection(url) as connection:
        await make_stream(connection, kind)
        if fill:
            await publish("throughput", connection, count, 1)


def main() -> None:
    """Run the case named on the command line."""
    calm_collector()  # as a node does
    case, url, kind, count, samples = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    if case.startswith("bare_"):
        asyncio.run(prepare(url, kind, count, case == "bare_read"))
        parts = urlsplit(url)
        loop = _bare.BareLoop(str(parts.hostname), parts.port or 4222, STREAM, SUBJECT)
        wall, cpu = getattr(loop, case.removeprefix("bare_"))(count, payload(samples))
    else:
        wall, cpu = asyncio.run(client_case(case, url, kind, count, samples))
    print(
        json.dumps(
            {
                "messages_per_s": round(count / wall, 1),
                "wall_s": round(wall, 4),
                "client_cpu_s": round(cpu, 4),
                "client_peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
