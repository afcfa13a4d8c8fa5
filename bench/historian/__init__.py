"""How fast stored messages become Arrow batches, and rows become durable. No server: the messages lie in memory.

    python -m bench historian [--messages 200000] [--json]

Prints messages/s and the ratio to a bare loop that only decodes the same JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import msgspec

from millstream.historian._decode import StreamDecoder
from millstream.historian._rows import join_rows
from millstream.historian._sink import READ_MESSAGES_MAX
from millstream.historian._store import Commit, HistoryStore, Position
from millstream.historian._tags import TagDictionary
from millstream.protocols.ledger import LedgerVerifier
from millstream.protocols.uns_payload import SampleRecord, encode_sample
from millstream.sdk import Received

TAGS_COUNT = 1000
START_NS = 1_700_000_000 * 10**9


def messages(count: int) -> list[Received]:
    """One-sample messages of a thousand tags, as a hub holds them: sourced, so each has a header."""
    found = []
    for i in range(count):
        payload = encode_sample(
            20.0 + i % 977 / 10, quality=0, source_time_ns=START_NS + i * 100_000, ingest_time_ns=START_NS + i * 100_000
        )
        headers = f"NATS/1.0\r\nNats-Stream-Source: E_bench_I {i + 1} > >\r\n\r\n".encode()
        found.append(Received(f"uns.v1.acme.site._tag.t{i % TAGS_COUNT}", payload, headers, i + 1, START_NS + i))
    return found


def main(argv: list[str]) -> int:
    """Run and print; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    source = messages(options.messages)
    begun = time.perf_counter()
    bare = msgspec.json.Decoder(SampleRecord)
    for message in source:
        bare.decode(message.payload)
    bare_s = time.perf_counter() - begun

    tags = TagDictionary()
    decoder = StreamDecoder("H_INTEGRITY", 1, tags=tags, ledger=LedgerVerifier(), now_ns=time.time_ns)
    begun = time.perf_counter()
    parts = []
    for at in range(0, len(source), READ_MESSAGES_MAX):
        parts.append(decoder.decode(source[at : at + READ_MESSAGES_MAX]).rows)
        parts[-1].arrow()
    decode_s = time.perf_counter() - begun
    rows = join_rows(parts)

    with tempfile.TemporaryDirectory() as folder:
        store = HistoryStore(Path(folder))
        store.open()
        begun = time.perf_counter()
        store.commit(Commit(Position("H_INTEGRITY", 1, len(source)), 0, rows, tags.dirty()))
        commit_s = time.perf_counter() - begun
        store.close()
    result = {
        "messages": len(source),
        "bare_messages_per_s": round(len(source) / bare_s),
        "decode_messages_per_s": round(len(source) / decode_s),
        "ratio": round(bare_s / decode_s, 3),
        "commit_rows_per_s": round(len(rows) / commit_s),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(json.dumps(result) if options.json else "\n".join(f"{k:>24}: {v}" for k, v in result.items()))
    return 0
