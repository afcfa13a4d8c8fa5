"""One measured process: fill the streams, read one into Arrow batches, or read it in the bare loop."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from contextlib import aclosing
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa

from bench._report import digest
from bench.historian._streams import EDGE, HUB, TAGS_COUNT, value
from bench.ingest._bare import BareLoop
from millstream.bus import FastIngestPublisher, RawConnection, StreamApi, StreamReader
from millstream.historian._decode import StreamDecoder
from millstream.historian._rows import Rows, join_rows
from millstream.historian._sink import READ_MESSAGES_MAX
from millstream.historian._tags import TagDictionary
from millstream.kernel import calm_collector
from millstream.protocols.ledger import LedgerVerifier
from millstream.protocols.uns_payload import SampleRecord, encode_sample
from millstream.sdk import Message

BATCH_ROWS = 20_000  # of one Arrow table, as the historian commits them
START_NS = 1_700_000_000 * 10**9
LEDGER = "uns.v1.acme.site._ledger.bench.publisher"


def message(number: int) -> Message:
    """The `number`-th sample; a thousand tags take turns."""
    time_ns = START_NS + number * 100_000
    payload = encode_sample(value(number), quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns + 1000)
    return Message(f"uns.v1.acme.site.area._tag.t{number % TAGS_COUNT}", payload)


async def fill(url: str, count: int) -> dict[str, object]:
    """Both streams."""
    async with RawConnection(url) as connection:
        api = StreamApi(connection)
        edge = {"name": EDGE, "subjects": ["uns.v1.>"], "allow_direct": True, "allow_batched": True}
        await api.request(f"STREAM.CREATE.{EDGE}", edge)
        await api.request(f"STREAM.CREATE.{HUB}", {"name": HUB, "sources": [{"name": EDGE}]})
        async with FastIngestPublisher(connection, EDGE, ledger_subject=LEDGER) as publisher:
            for at in range(0, count, 100):
                await publisher.submit([message(n) for n in range(at, min(at + 100, count))])
        last = (await api.state(EDGE)).last_seq
        while (await api.state(HUB)).last_seq < last:
            await asyncio.sleep(0.05)
    return {"last_seq": last}


async def arrow(url: str, stream: str, last_seq: int) -> dict[str, object]:
    """Read to `last_seq` into Arrow tables as the historian does: decoded, recounted, in commits of some rows."""
    tags, ledger = TagDictionary(), LedgerVerifier()
    decoder = StreamDecoder(stream, 1, tags=tags, ledger=ledger, now_ns=time.time_ns)
    tables: list[pa.Table] = []
    parts: list[Rows] = []
    async with RawConnection(url) as connection:
        wall, cpu = time.perf_counter(), time.process_time()
        async with aclosing(StreamReader(connection).read(stream, batch_max=READ_MESSAGES_MAX)) as batches:
            async for batch in batches:
                parts.append(decoder.decode(batch).rows)
                if sum(map(len, parts)) >= BATCH_ROWS:
                    tables.append(join_rows(parts).arrow())
                    parts.clear()
                if batch and batch[-1].seq >= last_seq:
                    break
        tables.append(join_rows(parts).arrow())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = pa.concat_tables(tables)
    account = next(iter(ledger.accounts.values()))
    return {
        "wall_s": wall, "cpu_s": cpu, "rows": found.num_rows, "is_clean": account.is_clean,
        "result_hash": digest(found.column("value").to_pylist()),
    }  # fmt: skip


def bare(url: str, stream: str, last_seq: int, *, is_decoding: bool) -> dict[str, object]:
    """The bare loop over the same messages."""
    parts = urlsplit(url)
    loop = BareLoop(str(parts.hostname), parts.port or 4222, stream, "bench")
    decode = msgspec.json.Decoder(SampleRecord).decode if is_decoding else None
    wall, cpu = loop.read(last_seq, b"", decode)
    return {"wall_s": wall, "cpu_s": cpu}


def main() -> None:
    """Run the case named on the command line."""
    calm_collector()  # as a node does
    case, url, stream, number = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    if case == "fill":
        result = asyncio.run(fill(url, number))
    elif case == "arrow":
        result = asyncio.run(arrow(url, stream, number))
    else:
        result = bare(url, stream, number, is_decoding=case == "bare_json")
    result["rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
