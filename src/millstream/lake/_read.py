"""Files as rows for an import: what an export wrote, or plain columns tag, time, value and perhaps quality."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from millstream.kernel import DecodeError
from millstream.lake._delta import files_of_table
from millstream.lake._rows import DELTA_LOG, SCHEMA, faults
from millstream.model import BAD, GOOD, UNCERTAIN
from millstream.protocols.cloudevents import parse_time_ns

_WORDS = {"good": int(GOOD), "uncertain": int(UNCERTAIN), "bad": int(BAD)}
READ = "the file cannot be read"
_PLAIN = ("tag", "time", "value")
_ROWS = [SCHEMA.field(name) for name in ("tag", "time_ns", "type", "number", "integer", "text", "quality")]


@dataclass(frozen=True, slots=True)
class RowsFile:
    """A file and what its content is known by."""

    path: Path
    digest: str
    rows: int


def files_below(path: Path) -> list[Path]:
    """The file itself, or the Parquet and CSV files of a folder and of those in it, by name; of a Delta table those
    that are in it now. Raises LakeError."""
    if path.is_file():
        return [path]
    tables = [log.parent for log in path.rglob(DELTA_LOG)]
    plain = [
        p for p in path.rglob("*")
        if p.suffix.lower() in (".parquet", ".csv") and p.name[0] != "." and not any(t in p.parents for t in tables)
    ]  # fmt: skip
    return sorted([*plain, *(file for table in tables for file in files_of_table(table))])


def look_at(path: Path) -> RowsFile:
    """Blocking. Raises LakeError, DecodeError."""
    with faults(path, READ), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        rows = pa_parquet.read_metadata(path).num_rows if path.suffix.lower() == ".parquet" else len(_csv(path))
    return RowsFile(path, digest, rows)


def parts_of(file: RowsFile, part_rows: int, *, skip: int = 0) -> Iterator[bytes]:
    """Arrow IPC of `part_rows` rows each (the last one of what is left), without the first `skip` parts. Blocking.
    Raises LakeError, DecodeError."""
    with faults(file.path, READ):
        for index, table in enumerate(_slices(file.path, part_rows)):
            if index >= skip:
                yield _encoded(_rows(table, file.path, index * part_rows + 1))


def _slices(path: Path, part_rows: int) -> Iterator[Any]:
    """Whatever the groups of the file are: only its rows decide where a part ends."""
    if path.suffix.lower() != ".parquet":
        table = _csv(path)
        yield from (table.slice(begin, part_rows) for begin in range(0, len(table), part_rows))
        return
    with pa_parquet.ParquetFile(path) as source:
        kept: Any = None
        for batch in source.iter_batches(65_536):
            table = pa.Table.from_batches([batch])
            kept = table if kept is None else pa.concat_tables([kept, table])
            whole = len(kept) // part_rows * part_rows
            yield from (kept.slice(begin, part_rows) for begin in range(0, whole, part_rows))
            kept = kept.slice(whole)
        if kept is not None and len(kept):
            yield kept


def _csv(path: Path) -> Any:
    types = {"tag": pa.string(), "time": pa.string(), "value": pa.string(), "quality": pa.string()}
    return pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(column_types=types, strings_can_be_null=True))


def row_place(path: Path | str, row: int, column: str) -> str:
    """Where in a file, for people; row 1 is the first one below the names of the columns."""
    return f"{path}, row {row}, column {column}"


def _rows(table: Any, path: Path, first_row: int) -> Any:
    if {field.name for field in _ROWS} <= set(table.column_names):
        return table.select([field.name for field in _ROWS]).cast(pa.schema(_ROWS))
    if not set(_PLAIN) <= set(table.column_names):
        raise DecodeError(
            "a file without the columns of history", where=str(path), expected=f"{', '.join(_PLAIN)}, perhaps quality",
            got=", ".join(table.column_names)[:120], code="MS-0433",
        )  # fmt: skip
    is_text = pa.types.is_string(table.schema.field("value").type)
    values = [_typed(_read(v) if is_text and path.suffix.lower() == ".csv" else v) for v in _list(table, "value")]
    has_quality = "quality" in table.column_names
    qualities = enumerate(_list(table, "quality"), first_row) if has_quality else ()
    given = [_quality(each, path, row) for row, each in qualities] or [0] * len(table)
    quality = [(int(BAD) if value[0] == "none" and not q else q or 0) for value, q in zip(values, given, strict=True)]
    columns = [
        _list(table, "tag"), _times(table, path, first_row), *map(list, zip(*values, strict=True)), quality
    ] if values else [[] for _ in _ROWS]  # fmt: skip
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, _ROWS, strict=True)], schema=pa.schema(_ROWS))


def _list(table: Any, name: str) -> list[Any]:
    return list(table.column(name).to_pylist())


def _times(table: Any, path: Path, first_row: int) -> list[int]:
    """UTC ns: of timestamps, of RFC 3339 text, of numbers."""
    column = table.column("time")
    if pa.types.is_timestamp(column.type):
        return list(column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64()).to_pylist())
    if pa.types.is_integer(column.type):
        return list(column.to_pylist())
    return [_time(text, path, row) for row, text in enumerate(column.to_pylist(), first_row)]


def _time(text: Any, path: Path, row: int) -> int:
    try:
        return int(text) if text.lstrip("-").isdigit() else parse_time_ns(text)
    except (AttributeError, DecodeError) as error:
        raise DecodeError(
            "not a time", where=row_place(path, row, "time"), expected="RFC 3339, or ns", got=repr(text)[:60],
            code="MS-0433",
        ) from error  # fmt: skip


def _quality(given: Any, path: Path, row: int) -> int:
    """A status code, or what people call it; 0 for nothing."""
    word = str(given or 0).strip().lower()
    number = _WORDS.get(word, int(word) if word.isdecimal() else -1)
    if not 0 <= number < 2**32:
        raise DecodeError(
            "not a quality", where=row_place(path, row, "quality"),
            expected="good, uncertain, bad, or a status code of OPC UA as a number",
            got=repr(given)[:60], code="MS-0433",
        )  # fmt: skip
    return number


def _read(text: str | None) -> Any:
    """As people write values: JSON, or else text."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _typed(value: Any) -> tuple[str, float | None, int | None, str | None]:
    if value is None:
        return "none", None, None, None
    if isinstance(value, bool):
        return "bool", float(value), None, None
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "int", float(value), value, None
    if isinstance(value, float):
        return "float", value, None, None
    return ("text", None, None, value) if isinstance(value, str) else ("json", None, None, json.dumps(value))


def _encoded(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue().to_pybytes())
