"""The form of exported rows, and how one day of them comes onto the disk."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from millstream.kernel import PlantError

SCHEMA = pa.schema(
    [
        ("tag", pa.string()),
        ("kind", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        ("time_ns", pa.int64()),
        ("type", pa.string()),
        ("number", pa.float64()),
        ("integer", pa.int64()),
        ("text", pa.string()),
        ("quality", pa.int64()),
    ]
)
"""`time_ns` is exact, UTC ns; `time` is what other programs understand. By `type` (none, float, int, bool, text, json)
the value is in `number`, for int exact in `integer`, or in `text`."""
DELTA_LOG = "_delta_log"
"""The folder that makes a folder a Delta table."""
FILES = "day=*/samples.parquet"
"""Those of an export in Parquet."""


class LakeError(PlantError):
    """What was exported before cannot be read or written; the day that was to be written is as it was."""

    default_code = "MS-0430"


@dataclass(frozen=True, slots=True)
class Written:
    """A day as it stands in the lake."""

    version: int
    rows: int


@dataclass(frozen=True, slots=True)
class DayFile:
    """One day, complete in a file of `SCHEMA`."""

    day: datetime.date
    file: Path
    written: Written


class Lake(Protocol):
    """Blocking. Made for one export: `spec` says of what, as text; a place that holds another one is refused."""

    def written(self, day: datetime.date) -> Written | None:
        """What is there of a day; None: nothing. Raises LakeError."""
        ...

    def replace(self, day: DayFile) -> None:
        """Put a day into the place of what was there, at once. Raises LakeError."""
        ...


class DayWriter:
    """Rows of one day into a file, in the order given."""

    def __init__(self, file: Path, metadata: dict[str, str]) -> None:
        self._writer = pa_parquet.ParquetWriter(file, SCHEMA.with_metadata(metadata), compression="zstd")
        self.rows = 0

    def add(self, table: Any) -> None:
        """A table of `SCHEMA`."""
        self._writer.write_table(table.cast(SCHEMA).replace_schema_metadata(None).cast(self._writer.schema))
        self.rows += len(table)

    def close(self) -> None:
        """End the file."""
        self._writer.close()


@contextmanager
def staged(folder: Path, metadata: dict[str, str]) -> Iterator[tuple[Path, DayWriter]]:
    """A file that is gone when the scope ends, unless it was moved. Raises LakeError."""
    with faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f".tmp-{os.getpid()}.parquet"
        writer = DayWriter(file, metadata)
        try:
            yield file, writer
        finally:
            writer.close()
            file.unlink(missing_ok=True)


@contextmanager
def faults(place: Path, what: str = "cannot export") -> Iterator[None]:
    """Errors of the disk and of Parquet become ours here."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise LakeError(f"{what}: {str(error).splitlines()[0][:200]}", where=str(place)) from error


def another_export(place: Path, found: str, wanted: str) -> LakeError:
    """The error of a place that holds something else."""
    return LakeError(
        "the place holds another export", where=str(place), expected=wanted, got=found[:200],
        next_step="export into another folder", code="MS-0431",
    )  # fmt: skip
