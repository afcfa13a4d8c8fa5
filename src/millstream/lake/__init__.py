"""Where history goes for other programs to read: days as Parquet files, or as partitions of a Delta table.

A day is written whole, and only ever replaced whole, together with the version that it is of.
"""

from millstream.lake._delta import DeltaLake
from millstream.lake._parquet import ParquetLake
from millstream.lake._read import RowsFile, files_below, look_at, parts_of
from millstream.lake._rows import SCHEMA, DayFile, Lake, LakeError, Written, staged

__all__ = [
    "SCHEMA", "DayFile", "DeltaLake", "Lake", "LakeError", "ParquetLake", "RowsFile", "Written", "files_below",
    "look_at", "parts_of", "staged",
]  # fmt: skip
