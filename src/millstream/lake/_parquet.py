"""Days as Parquet files: ``day=2026-01-31/samples.parquet``, a layout that query engines take as partitions."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pyarrow.parquet as pa_parquet

from millstream.lake._rows import DELTA_LOG, FILES, DayFile, LakeError, Written, another_export, faults

VERSION, SPEC = b"millstream.version", b"millstream.export"


class ParquetLake:
    """`Lake` in a folder. The version stands in the file itself, so both are replaced by one rename."""

    def __init__(self, folder: Path, spec: str) -> None:
        self._folder = folder
        self._spec = spec
        self._is_mine = False

    def _check_place(self) -> None:
        """Files beside those of another export, or within a Delta table, would be read as one with them."""
        if self._is_mine:
            return
        if (self._folder / DELTA_LOG).exists():
            raise another_export(self._folder, "a Delta table", "Parquet files by day")
        other = next(iter(self._folder.glob(FILES)), None)
        if other is not None:
            self._check(other)
        self._is_mine = True

    def _check(self, file: Path) -> dict[bytes, bytes]:
        with faults(file):
            metadata: dict[bytes, bytes] = pa_parquet.read_schema(file).metadata or {}
        if (found := metadata.get(SPEC, b"").decode("utf-8", "replace")) != self._spec:
            raise another_export(file, found, self._spec)
        return metadata

    def _file(self, day: datetime.date) -> Path:
        return self._folder / f"day={day.isoformat()}" / "samples.parquet"

    def written(self, day: datetime.date) -> Written | None:
        """What is there of a day. Raises LakeError."""
        self._check_place()
        file = self._file(day)
        if not file.exists():
            return None
        metadata = self._check(file)
        try:
            return Written(int(metadata[VERSION]), pa_parquet.read_metadata(file).num_rows)
        except (KeyError, ValueError) as error:
            raise LakeError("not a file of an export", where=str(file)) from error

    def replace(self, day: DayFile) -> None:
        """Move the day's file into its place. Raises LakeError."""
        file = self._file(day.day)
        with faults(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            _sync(day.file)
            day.file.replace(file)
            _sync(file.parent)
            _sync(self._folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
