"""Configuration of the files connector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from millstream.protocols.mqtt_mapping import DataType
from millstream.sdk import ConfigPath, Duration, RowConfig, Strict

Format = Literal["csv", "jsonl", "parquet"]
FILES_COUNT_MAX = 2_000  # the position names each file of the folder, some 100 bytes a file

_BY_SUFFIX: dict[str, Format] = {
    "csv": "csv", "txt": "csv", "tsv": "csv", "log": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl",
    "parquet": "parquet", "pq": "parquet",
}  # fmt: skip


def _one_folder(pattern: str) -> str:
    if "/" in pattern or "\\" in pattern or pattern.startswith("."):
        raise ValueError("a pattern names files of one folder, e.g. *.csv")
    return pattern


class FilesConfig(RowConfig):
    """Which files to read, in which order, and what their columns mean."""

    folder: ConfigPath
    """The folder to watch; its sub-folders are not looked into."""
    pattern: Annotated[str, AfterValidator(_one_folder)] = "*"
    """Names of the files, with * and ?; when a file is renamed in rotation, its new name should match as well."""
    format: Literal["auto"] | Format = "auto"
    """csv, jsonl or parquet; auto goes by each file's name."""
    order: Literal["name", "mtime"] = "name"
    """Files are read one after the other: by name, or by the time of their last change."""
    rotation: Literal["rename", "copy"] = "rename"
    """How files are rotated: renamed (or just left), or copied and then emptied. With copy, a new file that begins as
    a known one does is its copy, and only what is new in it is read."""
    poll_interval: Duration = Field(default=1.0, ge=0.005)
    """Pause between two looks into the folder."""
    settle_time: Duration = 5.0
    """Parquet and packed files are read when they have not changed for so long. Others: see last_line_after."""
    last_line_after: Duration = 60.0
    """A last line without a line break is taken when the file has not changed for so long; 0s: never."""
    files_max: int = Field(default=500, ge=1, le=FILES_COUNT_MAX)
    """More matching files than this in the folder is a fault: move the old ones away."""
    unpacked_bytes_max: int = Field(default=1 << 30, ge=1 << 20, le=1 << 40)
    """A packed file (.gz) that holds more than this is not read; it is unpacked into the folder for temporary files."""
    encoding: Literal["utf-8", "cp1252", "latin-1"] = "utf-8"
    """csv and jsonl: how text is encoded."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """csv: the character between columns."""
    decimal_mark: Literal[".", ","] = "."
    """csv: the mark in numbers."""
    header: bool = True
    """csv: the first line has the columns' names; without it they are called 1, 2, 3 .."""
    skip_lines: int = Field(default=0, ge=0, le=1000)
    """csv: lines before the header that say something else."""
    null_values: tuple[str, ...] = ("",)
    """csv: cells that mean no value."""

    @model_validator(mode="after")
    def _fits(self) -> FilesConfig:
        if self.delimiter == self.decimal_mark and self.decimal_mark == ",":
            raise ValueError("delimiter and decimal_mark are both a comma")
        return self

    def format_of(self, name: str) -> Format | None:
        """The format of a file by that name; None when it cannot be told. A rotated name, a.csv.1.gz, counts too."""
        if self.format != "auto":
            return self.format
        parts = name.lower().split(".")[1:]
        found = next((_BY_SUFFIX[part] for part in reversed(parts) if part in _BY_SUFFIX), None)
        return None if found == "parquet" and parts[-1] == "gz" else found


class FilesTagOptions(Strict):
    """Options of one tag."""

    data_type: DataType = "auto"
    """What the value is; auto: as the file types it, in CSV a float when it is a number, else text."""
