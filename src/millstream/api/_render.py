"""Answers in the form that the client asked for: JSON, CSV, Arrow or Parquet."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.uns_payload import ARROW_TYPE, JSON_TYPE, encode_value

if TYPE_CHECKING:
    import pyarrow as pa

CSV_TYPE = "text/csv"
PARQUET_TYPE = "application/vnd.apache.parquet"
_FORMATS = {"json": JSON_TYPE, "csv": CSV_TYPE, "arrow": ARROW_TYPE, "parquet": PARQUET_TYPE}


def choose_type(accept: str, wanted: str | None) -> str:
    """The media type of the answer: `wanted` (?format=) if given, else the best of the Accept header, else JSON.
    Raises DecodeError for an unknown format, or an Accept header that names only what we do not have."""
    if wanted is not None:
        if wanted not in _FORMATS:
            raise DecodeError(
                "unknown format", where="format", expected="json, csv, arrow or parquet", got=wanted, code="MS-0320"
            )
        return _FORMATS[wanted]
    ranges = []
    for part in accept.split(","):
        name, _, parameters = part.strip().partition(";")
        weight = parameters.strip().removeprefix("q=") if parameters.strip().startswith("q=") else "1"
        try:
            ranges.append((float(weight), name.strip().lower()))
        except ValueError:
            continue
    for _, name in sorted(ranges, key=lambda r: -r[0]):
        if name in _FORMATS.values():
            return name
        if name in ("", "*/*", "application/*"):
            return JSON_TYPE
        if name == "text/*":
            return CSV_TYPE
    raise DecodeError(
        "no such media type here",
        where="Accept",
        expected=", ".join(_FORMATS.values()),
        got=accept[:120],
        code="MS-0320",
    )


def render(table: pa.Table, media_type: str) -> bytes:
    """The table as bytes of `media_type`."""
    if media_type == ARROW_TYPE:
        return _arrow(table)
    if media_type == CSV_TYPE:
        return _csv(table)
    if media_type == PARQUET_TYPE:
        return _parquet(table)
    return _json(table)


def _arrow(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return cast("bytes", sink.getvalue().to_pybytes())


def _parquet(table: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet

    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return cast("bytes", sink.getvalue().to_pybytes())


def _csv(table: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.csv

    columns = {
        name: table.column(name).cast(pa.string())
        if pa.types.is_dictionary(table.schema.field(name).type)
        else pa.array(_times(table.column(name)))
        if pa.types.is_timestamp(table.schema.field(name).type)
        else table.column(name)
        for name in table.column_names
    }
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.table(columns), sink)
    return cast("bytes", sink.getvalue().to_pybytes())


def _json(table: pa.Table) -> bytes:
    import pyarrow as pa

    metadata = table.schema.metadata or {}
    is_json = metadata.get(b"value_encoding") == b"json"
    columns: dict[str, list[Any]] = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            columns[name] = _times(column)
            columns[name + "_ns"] = column.cast(pa.int64()).to_pylist()
        elif name == "value" and is_json:
            columns[name] = [None if v is None else msgspec.Raw(v.encode()) for v in column.to_pylist()]
        elif pa.types.is_floating(column.type):
            columns[name] = [None if v is None else msgspec.Raw(encode_value(v)) for v in column.to_pylist()]
        else:
            columns[name] = column.to_pylist()
    names = list(columns)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return msgspec.json.encode({"data": rows, "truncated": metadata.get(b"truncated") == b"true"})


def _times(column: pa.ChunkedArray) -> list[str]:
    """RFC 3339 in UTC with all nine digits; Python's own datetime has only six."""
    import pyarrow as pa

    return [format_time(ns) for ns in column.cast(pa.int64()).to_pylist()]


def format_time(time_ns: int) -> str:
    """UTC ns as RFC 3339 with nine digits."""
    seconds, rest = divmod(time_ns, 10**9)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)  # noqa: DTZ001 (UTC is written by hand)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
