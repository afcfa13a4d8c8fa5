"""Blocks that are written and read by the layout of earlier ones: the same bytes as the Arrow library writes, and what
it reads; whatever is not exactly such a block is left to the library."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millstream.kernel import DecodeError
from millstream.model import Block
from millstream.protocols.block_layout import LAYOUTS_MAX, PLAIN, SIGHTINGS_MIN, Columns, Kind, Layouts, find_layout
from millstream.protocols.uns_payload import _read_block, _write_block, _write_plain, decode_block, encode_block

START_NS = 1_767_225_600_000_000_000


def block_of(seed: int, count: int, of: str, *, has_quality: bool = False) -> Block:
    rng = np.random.default_rng(seed)
    values = np.frombuffer(rng.bytes(count * np.dtype(of).itemsize), of)  # NaN and infinities among them
    quality = rng.integers(0, 2, count).astype(np.uint32) << 30 if has_quality else None
    return Block("", START_NS + np.arange(count, dtype=np.int64) * rng.integers(1, 10**6), values, quality)


def as_read(payload: bytes, *, slowly: bool) -> tuple[Any, ...]:
    record = _read_block(payload)[0] if slowly else decode_block(payload)
    quality = None if record.quality is None else (record.quality.dtype, record.quality.tolist())
    values = np.asarray(record.values)
    return record.time_ns.tolist(), values.dtype, values.tobytes(), quality, record.ingest_ns, record.unit, record.clock


@pytest.mark.parametrize("of", sorted(PLAIN))
@pytest.mark.parametrize(("has_quality", "unit", "clock"), [(False, None, None), (True, "kN", "ahead")])
def test_each_block_has_the_bytes_and_the_values_that_the_library_gives_it(
    of: str, has_quality: bool, unit: str | None, clock: str | None
) -> None:
    for count in (8, 32, 33):
        for seed in range(SIGHTINGS_MIN + 2):
            block, ingest_ns = block_of(seed, count, of, has_quality=has_quality), START_NS + 977 * seed
            payload = encode_block(block, ingest_time_ns=ingest_ns, unit=unit, clock=clock)
            assert payload == _write_block(block, str(ingest_ns), unit, clock)
            assert as_read(payload, slowly=False) == as_read(payload, slowly=True)


def test_a_layout_is_found_of_a_kind_that_comes_again_and_is_used() -> None:
    kind = Kind(32, "<f8", has_quality=False, unit="N", clock=None, ingest_digits=19)
    slow: list[Kind] = []

    def slowly(of: Kind, columns: Columns) -> bytes:
        slow.append(of)
        return _write_plain(of, columns)

    layouts = Layouts(slowly)
    block = block_of(1, 32, "<f8")
    columns = Columns(str(START_NS).encode(), block.source_time_ns, np.asarray(block.values), None)
    payloads = {layouts.write(kind, columns) for _ in range(SIGHTINGS_MIN + 5)}
    assert (len(payloads), len(slow)) == (1, SIGHTINGS_MIN - 1 + 3), "three more to find and to check it"
    (payload,) = payloads
    assert layouts.read(payload) is None, "nothing was read yet"
    layouts.learn(payload, kind)
    found = layouts.read(payload)
    assert found is not None
    assert (found[0], found[1].ingest, found[1].values.tobytes()) == (kind, columns.ingest, columns.values.tobytes())


def test_what_differs_by_a_byte_outside_of_the_columns_is_left_to_the_library() -> None:
    kind = Kind(16, "<f4", has_quality=True, unit="bar", clock=None, ingest_digits=19)
    layout = find_layout(kind, _write_plain)
    assert layout is not None
    block = block_of(3, 16, "<f4", has_quality=True)
    payload = _write_block(block, str(START_NS), "bar", None)
    assert layout.read(payload) is not None
    columns = [(layout.starts[0], 8 * 16), (layout.starts[1], 4 * 16), (layout.starts[2], 4 * 16)]
    inside = {at for start, size in columns for at in range(start, start + size)}
    inside |= set(range(len(layout.head), layout.ingest_end))
    rng = random.Random(7)
    for at in range(len(payload)):
        forged = bytearray(payload)
        forged[at] ^= 1 << rng.randrange(8)
        if at not in inside:
            assert layout.read(bytes(forged)) is None, at
    for shorter in (payload[:-1], payload[8:], payload + b"\0"):
        assert layout.read(shorter) is None
    malformed = payload.replace(str(START_NS).encode(), b"-" + str(START_NS).encode()[1:])
    assert layout.read(malformed) is None
    with pytest.raises(DecodeError, match="ingest_ns"):
        decode_block(malformed)


def test_blocks_of_a_library_that_writes_them_otherwise_are_read_all_the_same() -> None:
    """With more columns of metadata, compressed, in two batches: of the same samples."""
    times = pa.array(START_NS + np.arange(32), pa.timestamp("ns", "UTC"))
    table = pa.table({"timestamp": times, "value": np.arange(32.0)}).replace_schema_metadata(
        {"ingest_ns": "5", "by": "x"}
    )
    for options, pieces in ((None, 32), (pa.ipc.IpcWriteOptions(compression="lz4"), 32), (None, 16)):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=pieces)
        payload = sink.getvalue().to_pybytes()
        for _ in range(SIGHTINGS_MIN + 2):
            record = decode_block(payload)
            assert (record.ingest_ns, np.asarray(record.values).tolist()) == (5, list(range(32)))


def test_kinds_beyond_the_bound_are_left_to_the_library() -> None:
    layouts = Layouts(_write_plain)
    for count in range(8, LAYOUTS_MAX + 20):
        kind = Kind(count, "|u1", has_quality=False, unit=None, clock=None, ingest_digits=2)
        layouts._of_kind[kind] = None
    assert len(layouts._of_kind) > LAYOUTS_MAX
    kind = Kind(8, "<f8", has_quality=False, unit=None, clock=None, ingest_digits=2)
    columns = Columns(b"12", np.arange(8, dtype=np.int64), np.arange(8.0), None)
    assert {layouts.write(kind, columns) for _ in range(9)} == {_write_plain(kind, columns)}
    assert kind not in layouts._of_kind
