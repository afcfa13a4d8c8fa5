"""Pages of stored messages that no historian has seen."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from millstream.historian import decode_page
from millstream.model import Block
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block, encode_sample
from millstream.sdk import Received

T0 = 1_700_000_000_000_000_000


def block(seq: int, first: int, count: int) -> Received:
    times = np.arange(first, first + count, dtype=np.int64) + T0
    payload = encode_block(Block("", times, np.arange(first, first + count)), ingest_time_ns=1)
    headers = f"NATS/1.0\r\nContent-Type: {ARROW_TYPE}\r\nMs-Count: {count}\r\n\r\n".encode()
    return Received("uns.v1.acme.p1._tag.raw", payload, headers, seq, T0)


def single(seq: int, value: int) -> Received:
    payload = encode_sample(value, quality=0, source_time_ns=T0 + value, ingest_time_ns=1)
    return Received("uns.v1.acme.p1._tag.raw", payload, None, seq, T0)


def test_samples_of_a_page_are_in_the_order_of_their_messages() -> None:
    """A single sample stands between blocks: what marks a lost link does."""
    page = decode_page([block(1, 0, 3), single(2, 3), block(3, 4, 3), single(4, 7)], "tag", T0, T0 + 7, now_ns=int)
    (part,) = page.parts
    table = pa.ipc.open_stream(part).read_all()
    assert (page.rows, page.bad, table.column("value").to_pylist()) == (7, 0, list(range(7)))
