"""Days as partitions of a Delta table: each replaced in one commit that carries its version.

The version is an application transaction of the table (Delta protocol, "Transaction Identifiers"), so a commit that
went through although its answer was lost is seen the next time, and nothing is written twice.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from millstream.kernel import needs_extra
from millstream.lake._rows import FILES, SCHEMA, DayFile, LakeError, Written, another_export, faults

BATCH_ROWS = 65_536


def files_of_table(folder: Path) -> list[Path]:
    """The files of a Delta table as it stands: others below its folder were replaced. Raises LakeError."""
    delta = _load()
    with _delta_faults(folder):
        uris = delta.DeltaTable(str(folder)).file_uris()
    return sorted(Path(unquote(urlsplit(uri).path if "://" in uri else uri)) for uri in uris)


class DeltaLake:
    """`Lake` in a Delta table, made when there is none.

    On a local folder a power cut may cost the last commits, and the table itself when it is young: delta-rs does not
    sync. Export again, into a new folder if the table is unreadable.
    """

    def __init__(self, folder: Path, spec: str) -> None:
        self._folder = folder
        self._spec = spec
        self._key = hashlib.sha256(spec.encode()).hexdigest()[:16]
        self._delta = _load()
        self._table: Any = None

    def _opened(self) -> Any:
        with self._faults():
            if self._table is None:
                if self._delta.DeltaTable.is_deltatable(str(self._folder)):
                    self._table = self._delta.DeltaTable(str(self._folder))
                elif any(self._folder.glob(FILES)):
                    raise another_export(self._folder, "Parquet files by day", "a Delta table")
                else:
                    schema = pa.schema([*SCHEMA, ("day", pa.string())])
                    self._table = self._delta.DeltaTable.create(
                        str(self._folder), schema, partition_by=["day"], description=self._spec
                    )
            self._table.update_incremental()
            found = self._table.metadata().description or ""
        if found != self._spec:
            raise another_export(self._folder, found, self._spec)
        return self._table

    def _app_id(self, day: datetime.date) -> str:
        return f"millstream:{self._key}:{day.isoformat()}"

    def written(self, day: datetime.date) -> Written | None:
        """What is there of a day. Raises LakeError."""
        table = self._opened()
        with self._faults():
            version = table.transaction_version(self._app_id(day))
            if version is None:
                return None
            actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        rows = sum(a["num_records"] or 0 for a in actions if a.get("partition.day") == day.isoformat())
        return Written(int(version), rows)

    def replace(self, day: DayFile) -> None:
        """One commit: out with the day's old files, in with the new ones, and the version. Raises LakeError."""
        table, name = self._opened(), day.day.isoformat()
        metadata = {
            "millstream.day": name, "millstream.version": str(day.written.version),
            "millstream.rows": str(day.written.rows), "millstream.export": self._spec,
        }  # fmt: skip
        with self._faults():
            self._delta.write_deltalake(
                table, _with_day(day.file, name), mode="overwrite", predicate=f"day = '{name}'",
                commit_properties=self._delta.CommitProperties(
                    custom_metadata=metadata,
                    app_transactions=[self._delta.Transaction(self._app_id(day.day), day.written.version)],
                ),
            )  # fmt: skip

    @contextmanager
    def _faults(self) -> Iterator[None]:
        with _delta_faults(self._folder, "run the export again; what is in the table stays"):
            yield


@contextmanager
def _delta_faults(folder: Path, next_step: str | None = None) -> Iterator[None]:
    """The one place where delta-rs' errors become ours."""
    from deltalake.exceptions import DeltaError

    try:
        with faults(folder):
            yield
    except DeltaError as error:
        raise LakeError(
            f"the Delta table refuses: {str(error).splitlines()[0][:200]}", where=str(folder), next_step=next_step
        ) from error


def _with_day(file: Path, day: str) -> Any:
    """The file's rows with their partition, read batch by batch."""
    schema = pa.schema([*SCHEMA, ("day", pa.string())])

    def batches() -> Iterator[Any]:
        with pa_parquet.ParquetFile(file) as source:
            for batch in source.iter_batches(BATCH_ROWS):
                yield pa.RecordBatch.from_arrays(
                    [*batch.columns, pa.array([day] * len(batch), pa.string())], schema=schema
                )

    return pa.RecordBatchReader.from_batches(schema, batches())


def _load() -> Any:
    with needs_extra("Delta tables", "delta"):
        import deltalake
    return deltalake
