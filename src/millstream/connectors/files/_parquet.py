"""Parquet: rows from a row number on, as parts; the file is whole or it is not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millstream.connectors.files._packed import opened_plain
from millstream.connectors.files._part import BAD_BYTES_MAX, Part
from millstream.connectors.files._seen import Seen
from millstream.connectors.files._table import Entry, mark_of
from millstream.kernel import DecodeError
from millstream.model import Sample
from millstream.protocols.row_mapping import Instant, RowMap

CELLS_READ_MAX = 100_000  # of one call: bounds memory
ROWS_READ_MAX = 20_000


def read_parquet(row_map: RowMap, seen: Seen, entry: Entry) -> list[Part]:
    """The rows that follow `entry`, at most `CELLS_READ_MAX` cells. Behind the last one the entry's line is 1.
    Blocking. Raises OSError when the file went."""
    with opened_plain(seen) as stream:
        mark = mark_of(stream, seen.size) or ""
        start = replace(entry, covered=seen.size, mark=mark, mtime_ns=seen.mtime_ns)
        try:
            with pq.ParquetFile(stream) as file:
                return _parts(file, row_map, seen, start)
        except (pa.ArrowException, OSError, ValueError) as error:
            stream.seek(0)
            reason = f"{seen.name}, row {entry.offset + 1}: not a Parquet file that can be read: {error}"
            bad = [(stream.read(BAD_BYTES_MAX), reason[:500])]
            return [Part(replace(start, line=1), frames_bad=bad)]


def _parts(file: Any, row_map: RowMap, seen: Seen, entry: Entry) -> list[Part]:
    names = file.schema_arrow.names
    missing = row_map.missing(names)
    if missing:
        reason = f"{seen.name}: file has no column {', '.join(missing)}"
        return [Part(replace(entry, line=1), frames_bad=[(str(names).encode()[:BAD_BYTES_MAX], reason)])]
    columns = [name for name in row_map.needed if name in names]
    part = Part(entry)
    if entry.offset == 0:
        part.samples += row_map.unknown(names)
    parts: list[Part] = []
    for number, row in _rows(file, columns, entry.offset):
        samples: list[Sample] = []
        fault: str | None = None
        try:
            samples = row_map.samples(row)
        except DecodeError as error:
            fault = f"row {number} of {seen.name}: {error.what}"
        if part.is_full_for(len(samples)):
            parts.append(part)
            part = Part(part.entry)
        part.samples += samples
        if fault is not None:
            part.frames_bad.append((repr(row).encode("utf-8", "replace")[:BAD_BYTES_MAX], fault))
        part.rows_count += 1
        part.entry = replace(part.entry, offset=number)
    if part.entry.offset >= file.metadata.num_rows:
        part.entry = replace(part.entry, line=1)
    return [*parts, part]


def _rows(file: Any, columns: list[str], start: int) -> Iterator[tuple[int, dict[str, object]]]:
    """Rows behind row number `start` with their numbers, counted from 1, to the end of a row group or the bound."""
    group, first = 0, 0
    while group < file.metadata.num_row_groups and first + file.metadata.row_group(group).num_rows <= start:
        first += file.metadata.row_group(group).num_rows
        group += 1
    if group == file.metadata.num_row_groups:
        return
    bound = min(ROWS_READ_MAX, max(1, CELLS_READ_MAX // max(1, len(columns))))
    number = first
    for batch in file.iter_batches(batch_size=bound, row_groups=[group], columns=columns):
        skipped = max(0, start - number)
        number += min(skipped, batch.num_rows)
        if skipped >= batch.num_rows:
            continue
        for row in _plain(batch.slice(skipped)):
            number += 1
            yield number, row
        return


def _plain(batch: Any) -> list[dict[str, object]]:
    """Rows of Python values; times keep their nanoseconds."""
    if batch.num_columns == 0:
        return [{} for _ in range(batch.num_rows)]
    cells = [_column(batch.column(i)) for i in range(batch.num_columns)]
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*cells, strict=True)]


def _column(column: Any) -> list[object]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        numbers = pc.cast(pc.cast(column, pa.timestamp("ns", kind.tz)), pa.int64()).to_pylist()
        return [None if number is None else Instant(number, kind.tz is None) for number in numbers]
    if pa.types.is_duration(kind):
        column = pc.cast(column, pa.int64())
    elif pa.types.is_float16(kind):
        column = pc.cast(column, pa.float32())
    found: list[object] = column.to_pylist()
    return found


def parquet_columns(seen: Seen) -> list[tuple[str, str]]:
    """Names and types of the columns. Blocking. Raises OSError, DecodeError."""
    try:
        schema = pq.read_schema(seen.path)
    except (pa.ArrowException, ValueError) as error:
        raise DecodeError(f"not a Parquet file: {error}", where=str(seen.path)) from error
    return [(field.name, str(field.type)) for field in schema]
