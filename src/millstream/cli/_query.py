"""``query``: the history as a table, CSV, JSON lines or an Arrow file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, OUTPUT_GROUP, Json, Target, run
from millstream.cli._output import OK, note, print_json, print_table
from millstream.kernel import PlantError

if TYPE_CHECKING:
    import pyarrow as pa

    from millstream.client import Plant

_RIGHT = frozenset(("value", "count", "min", "max", "mean", "sum", "first", "last", "time_weighted_mean"))
Format = Literal["table", "csv", "jsonl", "arrow", "parquet"]


def query(
    *patterns: str,
    start: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    end: Annotated[str, Parameter(allow_leading_hyphen=True)] = "now",
    every: str | None = None,
    aggregate: Annotated[list[str] | None, Parameter(name=["--aggregate", "-a"])] = None,
    at: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    last: Annotated[bool, Parameter(negative="")] = False,
    quality: Literal["any", "usable", "good"] | None = None,
    kind: Literal["tag", "count", "kpi", "state", "event", "alarm"] = "tag",
    type: str | None = None, as_recorded: Annotated[bool, Parameter(negative="")] = False, limit: int | None = None,
    output: Annotated[Format | None, Parameter(name=["--output", "-o"], group=OUTPUT_GROUP)] = None,
    file: Annotated[Path | None, Parameter(group=OUTPUT_GROUP)] = None,
    json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Ask the history: samples, windows, last values, as of a moment.

    Examples:

        millstream query acme/plant1/press:temperature --start -1h --every 1min -a mean -a max
        millstream query acme/plant1 --kind event --start -1d --type 'com.acme.*'
        millstream query 'acme/**:**' --start 2026-01-31 --end 2026-02-01 -o arrow --file day.arrow

    Parameters
    ----------
    patterns
        Paths or patterns.
    start
        Begin, included: 2026-01-31T06:00:00Z, 2026-01-31, now, or back from now: -15min. Left out: -1h.
    end
        End, not included.
    every
        Windows of this length instead of samples, such as 1min.
    aggregate
        Of each window: count, min, max, mean, sum, first, last, time_weighted_mean; may be repeated.
    at
        What was known at this moment.
    last
        The newest sample of each tag.
    quality
        any, usable (not bad) or good.
    kind
        What is asked for; event and alarm give events, with --start, --end, --type and --limit.
    type
        Of events: a CloudEvents type; a final * stands for any ending.
    as_recorded
        Also what later samples of the same time correct, in order of arrival.
    limit
        Rows at most.
    output
        table, csv, jsonl, arrow (an IPC stream) or parquet; left out: by the ending of --file.
    file
        Write to this file instead of standard output.
    json
        The same as --output jsonl.
    """

    async def work() -> int:
        """Ask and write."""
        async with target.connect() as plant:
            table = await _asked(
                plant, patterns, start, end, every=every, aggregates=aggregate, at=at, last=last, quality=quality,
                kind=kind, type=type, as_recorded=as_recorded, limit=limit,
            )  # fmt: skip
        write_table(table, "jsonl" if json else output or format_of(file), file)
        if (table.schema.metadata or {}).get(b"truncated") == b"true":
            note("there is more: the limit cut the answer (raise --limit, or ask for windows with --every)")
        return OK

    return run(work())


async def _asked(
    plant: Plant,
    patterns: tuple[str, ...],
    start: str | None,
    end: str,
    *,
    every: str | None,
    aggregates: list[str] | None,
    at: str | None,
    last: bool,
    quality: str | None,
    kind: str,
    type: str | None,
    as_recorded: bool,
    limit: int | None,
) -> pa.Table:
    if kind in ("event", "alarm"):
        if any((every, aggregates, at, last, quality, as_recorded)):
            raise PlantError(
                "events are no samples", expected="--start, --end, --type and --limit with this --kind", code="MS-0582"
            )
        return await plant.event_history(patterns, start or "-1h", end, type=type, kind=kind, limit=limit)
    if type is not None:
        raise PlantError("samples have no type", expected="--kind event or alarm beside --type", code="MS-0582")
    if as_recorded and (last or at is not None):
        raise PlantError("these do not go together", expected="--as-recorded with --start", code="MS-0582")
    if sum((start is not None, at is not None, last)) > 1:
        raise PlantError("these do not go together", expected="one of --start, --at, --last", code="MS-0582")
    if last:
        return await plant.last_history(*patterns, kind=kind)
    if at is not None:
        return await plant.asof(patterns, at, quality=quality, kind=kind)
    return await plant.history(
        patterns, start or "-1h", end, every=every, aggregate=aggregates, limit=limit, quality=quality, kind=kind,
        as_recorded=as_recorded,
    )  # fmt: skip


def format_of(file: Path | None) -> Format:
    """The form that the ending of a file asks for."""
    known: dict[str, Format] = {".jsonl": "jsonl", ".arrow": "arrow", ".parquet": "parquet"}
    return "table" if file is None else known.get(file.suffix.lower(), "csv")


def write_table(table: pa.Table, output: Format, file: Path | None) -> None:
    """Rows to standard output or a file. Raises PlantError."""
    if file is None and output in ("arrow", "parquet") and sys.stdout.isatty():
        raise PlantError(f"{output} is binary", next_step="add --file, or send it into a pipe", code="MS-0582")
    if file is None:
        if output == "table":
            _print(table)
        elif output == "jsonl":
            for row in _rows(table):
                print_json(row)
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(_encoded(table, output))
            sys.stdout.buffer.flush()
        return
    try:
        file.write_bytes(_encoded(table, output))
    except OSError as error:
        raise PlantError(
            "cannot write the file", where=str(file), got=(error.strerror or str(error)).lower()
        ) from error
    note(f"{len(table)} rows in {file}")


def _encoded(table: pa.Table, output: Format) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    if output == "arrow":
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    elif output == "parquet":
        import pyarrow.parquet as pa_parquet

        pa_parquet.write_table(table, sink)
    elif output == "csv":
        import pyarrow.csv as pa_csv

        pa_csv.write_csv(_plain(table), sink)
    else:
        from millstream.cli._output import json_text

        sink.write("".join(json_text(row) + "\n" for row in _rows(table)).encode())
    return bytes(sink.getvalue().to_pybytes())


def _plain(table: pa.Table) -> pa.Table:
    """Dictionary columns as text, which CSV can hold."""
    import pyarrow as pa

    for index, name in enumerate(table.column_names):
        if pa.types.is_dictionary(table.schema.field(name).type):
            table = table.set_column(index, name, table.column(name).cast(pa.string()))
    return table


def _rows(table: pa.Table) -> list[dict[str, object]]:
    """Rows for JSON: times as RFC 3339 text with all digits."""
    import pyarrow as pa

    from millstream.protocols.cloudevents import format_time

    columns: dict[str, list[object]] = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            columns[name] = [None if t is None else format_time(t) for t in column.cast(pa.int64()).to_pylist()]
        else:
            columns[name] = column.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _print(table: pa.Table) -> None:
    from millstream.model import Quality

    rows = _rows(table)
    for row in rows:
        if isinstance(row.get("quality"), int):
            row["quality"] = Quality(row["quality"]).label  # type: ignore[call-overload]
    right = [name for name in table.column_names if name in _RIGHT]
    print_table(table.column_names, [list(row.values()) for row in rows], right=right)
    note(f"{len(rows)} row{'s' if len(rows) != 1 else ''}")
