"""From the dialect's raw columns to what a user sees: Arrow tables.

Samples have the columns tag, kind, timestamp, value, quality.
`value` has the type of the tags asked for (float64, int64, bool, string; floats and integers that a float64 holds
exactly give float64); where they differ, or hold bytes, lists or
mappings, it is JSON text and the schema's metadata says ``value_encoding: json``. ``truncated: true`` there says
that the limit cut rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from millstream.historian._columns import (
    KIND_BOOL,
    KIND_FLOAT,
    KIND_INT,
    KIND_NONE,
    KIND_TEXT,
    TYPE_NAMES,
    to_value,
)
from millstream.historian._tags import TagEntry
from millstream.protocols.uns_payload import encode_value

if TYPE_CHECKING:
    import pyarrow as pa

IPC_PART_BYTES = 480 * 1024  # of one reply; below the 512 KiB that leaf links and clients are set up for


@dataclass(frozen=True, slots=True)
class Naming:
    """What tag numbers are called: paths by number, and the kind of all of them."""

    paths: Mapping[int, str]
    kind: str


def samples_table(raw: pa.Table, names: Naming, limit: int, *, is_typed: bool = False) -> pa.Table:
    """Answer of range, last and as-of. `raw` has tag_id, ts, kind, value, whole, text, quality (and sample_ts for
    as-of)."""
    import pyarrow as pa

    raw, metadata = _cut(raw, limit)
    columns = {**_named(raw, names), "timestamp": _times(raw.column("ts"))}
    if is_typed:
        columns |= _typed(raw)
    else:
        columns["value"], is_json = _values(raw)
        if is_json:
            metadata["value_encoding"] = "json"
    columns["quality"] = raw.column("quality").cast(pa.uint32())
    if "sample_ts" in raw.column_names:
        columns["sample_timestamp"] = _times(raw.column("sample_ts"))
    return pa.table(columns).replace_schema_metadata(metadata)


def aggregates_table(raw: pa.Table, names: Naming, limit: int | None) -> pa.Table:
    """Answer of window and count: tag, kind, timestamp (start of the window; not for count), then the aggregates."""
    import pyarrow as pa

    raw, metadata = _cut(raw, limit)
    columns = _named(raw, names)
    for name in raw.column_names:
        if name == "ts":
            columns["timestamp"] = _times(raw.column("ts"))
        elif name != "tag_id":
            columns[name] = raw.column(name)
    return pa.table(columns).replace_schema_metadata(metadata)


def events_table(raw: pa.Table, names: Naming, limit: int) -> pa.Table:
    """Answer of events: tag, kind, timestamp, id, source, type, subject, content_type, data, extensions (the last two
    as JSON text)."""
    import pyarrow as pa

    raw, metadata = _cut(raw, limit)
    columns = {**_named(raw, names), "timestamp": _times(raw.column("ts"))}
    columns.update((name, raw.column(name)) for name in raw.column_names if name not in ("tag_id", "ts"))
    return pa.table(columns).replace_schema_metadata(metadata)


def names_table(entries: Sequence[TagEntry]) -> pa.Table:
    """Answer of names: tag, kind, description (JSON text)."""
    import pyarrow as pa

    return pa.table(
        {
            "tag": pa.array([e.path for e in entries], pa.string()).dictionary_encode(),
            "kind": pa.array([e.kind for e in entries], pa.string()).dictionary_encode(),
            "description": pa.array([e.description for e in entries], pa.string()),
        }
    )


def join_samples(tables: Sequence[pa.Table], limit: int, *, descending: bool = False) -> pa.Table:
    """Answers of range for several kinds as one, by time. `value` has their common type, of integers and floats
    float64; where there is none, or that would round, it is JSON text as in one answer of several types."""
    import pyarrow as pa

    types = {table.schema.field("value").type for table in tables}
    metadata = [table.schema.metadata or {} for table in tables]
    is_json = any(b"value_encoding" in one for one in metadata)
    columns = [table.column("value") for table in tables]
    if is_json or len(types) > 1:
        columns, is_json = _alike(columns, metadata)
    at = tables[0].schema.get_field_index("value")
    alike = [t.set_column(at, "value", c) for t, c in zip(tables, columns, strict=True)]
    joined = pa.concat_tables(table.replace_schema_metadata(None) for table in alike).unify_dictionaries()
    joined = joined.sort_by([("timestamp", "descending" if descending else "ascending")])
    found = {"value_encoding": "json"} if is_json else {}
    if len(joined) > limit or any(b"truncated" in one for one in metadata):
        found["truncated"] = "true"
    return joined.slice(0, limit).replace_schema_metadata(found)


def _alike(columns: Sequence[pa.ChunkedArray], metadata: Sequence[dict[bytes, bytes]]) -> tuple[list[Any], bool]:
    """Columns of values with one type, and whether that is JSON."""
    import pyarrow as pa

    types = {column.type for column in columns}
    if types <= {pa.float64(), pa.int64()}:
        try:
            return [column.cast(pa.float64()) for column in columns], False
        except pa.ArrowInvalid:  # an integer that a float64 would round
            pass
    texts = []
    for column, known in zip(columns, metadata, strict=True):
        if b"value_encoding" in known:
            texts.append(column)
            continue
        told = [None if v is None else encode_value(v).decode() for v in column.to_pylist()]
        texts.append(pa.chunked_array([pa.array(told, pa.string())]))
    return texts, True


def ipc_parts(table: pa.Table, part_bytes_max: int = IPC_PART_BYTES) -> Iterator[bytes]:
    """The table as Arrow IPC streams, each of at most `part_bytes_max` bytes (but for a single row that is larger).
    An empty table gives one part with the schema."""
    import pyarrow as pa

    at, rows = 0, max(1, len(table))
    if len(table):
        rows = max(1, min(len(table), len(table) * part_bytes_max // max(1, int(table.nbytes * 1.1))))
    while at == 0 or at < len(table):
        part = _slim(table.slice(at, rows))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(part.combine_chunks())
        data = cast("bytes", sink.getvalue().to_pybytes())
        if len(data) > part_bytes_max and rows > 1:
            rows = max(1, rows // 2)
            continue
        yield data
        at += rows


def _slim(part: pa.Table) -> pa.Table:
    """Only the names that the part uses: else thousands of tags would fill every part."""
    import pyarrow as pa

    at = part.schema.get_field_index("tag")
    names = part.column(at).cast(pa.string()).combine_chunks().dictionary_encode()
    return part.set_column(at, part.schema.field(at), names)


def _cut(raw: pa.Table, limit: int | None) -> tuple[pa.Table, dict[str, str]]:
    if limit is not None and len(raw) > limit:
        return raw.slice(0, limit), {"truncated": "true"}
    return raw, {}


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    return column.cast(pa.timestamp("ns")).cast(pa.timestamp("ns", "UTC"))


def _named(raw: pa.Table, names: Naming) -> dict[str, Any]:
    """The columns that say whose a row is."""
    import numpy as np
    import pyarrow as pa

    kinds = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(raw), np.int8)), pa.array([names.kind], pa.string()))
    return {"tag": _tags(raw, names.paths), "kind": kinds}


def _tags(raw: pa.Table, paths: Mapping[int, str]) -> pa.Array:
    """Names as a dictionary column: each stands once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = raw.column("tag_id").combine_chunks()
    used = pc.unique(numbers)
    codes = pc.index_in(numbers, used).cast(pa.int32())
    return pa.DictionaryArray.from_arrays(codes, pa.array([paths[i] for i in used.to_pylist()], pa.string()))


def _typed(raw: pa.Table) -> dict[str, Any]:
    """The value in the column of its type, without a look at each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = raw.column("kind")
    is_small = pc.and_(pc.equal(kind, KIND_INT), pc.is_null(raw.column("whole")))  # exact as a float64
    small = pc.if_else(is_small, raw.column("value"), pa.scalar(None, pa.float64())).cast(pa.int64())
    return {
        "type": pa.array(TYPE_NAMES, pa.string()).take(kind.combine_chunks()),
        "number": raw.column("value"),
        "integer": pc.coalesce(raw.column("whole"), small),
        "text": raw.column("text"),
    }


def _values(raw: pa.Table) -> tuple[pa.ChunkedArray | pa.Array, bool]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = raw.column("kind")
    kinds = set(pc.unique(kind).to_pylist()) - {KIND_NONE}
    value = raw.column("value")
    has_whole = raw.column("whole").null_count < len(raw)
    if kinds <= {KIND_FLOAT} or (KIND_FLOAT in kinds and kinds <= {KIND_FLOAT, KIND_INT} and not has_whole):
        return pc.if_else(pc.equal(kind, KIND_NONE), pa.scalar(None, pa.float64()), value), False
    if kinds == {KIND_INT}:
        # Only integers below 2**53 lack `whole`; the others' rounded value must not reach the cast, which is checked.
        small = pc.if_else(pc.is_valid(raw.column("whole")), pa.scalar(None, pa.float64()), value)
        return pc.coalesce(raw.column("whole"), small.cast(pa.int64())), False
    if kinds == {KIND_BOOL}:
        return pc.not_equal(value, 0.0), False
    if kinds == {KIND_TEXT}:
        return raw.column("text"), False
    rows = zip(*(raw.column(n).to_pylist() for n in ("kind", "value", "whole", "text")), strict=True)
    return pa.array(
        [None if k == KIND_NONE else encode_value(to_value(k, v, w, t)).decode() for k, v, w, t in rows], pa.string()
    ), True
