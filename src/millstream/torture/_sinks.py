"""What the sinks hold: streams and history, read from the outside, once everything is quiet."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import numpy as np

from millstream.bus import Credentials, RawConnection, StreamReader
from millstream.client import Plant
from millstream.kernel import DecodeError, NotFoundError
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_payload import ARROW_TYPE, decode_block, decode_sample
from millstream.protocols.uns_subject import decode_subject
from millstream.sdk import Received
from millstream.torture._checker import Output

LOOK_S = 2.0  # without a message: the end of the stream
DATA_CONTRACTS = ("_tag", "_count", "_kpi", "_state")
TIMES_MAX_NS = 2**62
ROWS_MAX = 1_000_000  # of one tag, as far as one answer of the historian goes

Samples = dict[tuple[str, str], list[Output]]
"""(contract, path of the tag) -> its samples, in order; the value None stands for a quality that is not good."""


async def read_stream(node: Mapping[str, Any], stream: str) -> Samples:
    """All samples of a stream of the node with this ``node.json``. Raises NotFoundError, Unreachable."""
    found: Samples = {}
    credentials = Credentials(str(node["user"]), str(node["password"]))
    async with (
        RawConnection(str(node["nats_url"]), credentials=credentials, name="torture") as connection,
        aclosing(StreamReader(connection).read(stream, wait_s=LOOK_S)) as lists,
    ):
        async for received in lists:
            if not received:
                break
            for item in received:
                _take(found, item)
    return found


def _take(found: Samples, item: Received) -> None:
    try:
        address = decode_subject(item.subject)
    except DecodeError:
        return  # not of the namespace
    if address.contract not in DATA_CONTRACTS:
        return
    samples = found.setdefault((address.contract, str(address.tag)), [])
    if parse_headers(item.headers).values.get("Content-Type") == ARROW_TYPE:
        block = decode_block(item.payload)
        qualities = block.quality if block.quality is not None else np.zeros(len(block), dtype=np.uint32)
        values = block.values if isinstance(block.values, list) else block.values.tolist()
        samples += [
            Output(value if quality == 0 else None, time_ns)
            for value, quality, time_ns in zip(values, qualities.tolist(), block.time_ns.tolist(), strict=True)
        ]
        return
    record = decode_sample(item.payload)
    samples.append(Output(record.value if record.quality == 0 else None, record.time_ns))


async def read_history(hub: Plant, path: str, kind: str = "tag") -> list[Output]:
    """The good rows of one tag in the historian, in order of source time; empty when there is none."""
    try:
        table = await hub.history(path, 0, TIMES_MAX_NS, limit=ROWS_MAX, quality="good", kind=kind)
    except NotFoundError:
        return []
    values = table.column("value").to_pylist()
    times = table.column("timestamp").cast("int64").to_pylist()
    return [Output(value, time_ns) for value, time_ns in zip(values, times, strict=True)]


def good(samples: list[Output]) -> list[Output]:
    """Without what says that there is no value."""
    return [sample for sample in samples if sample.value is not None]
