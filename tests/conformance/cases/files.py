"""A folder of files in each format."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

import millstream.connectors.files as package
from millstream.connectors.files import FilesConnector
from millstream.sdk import Tag
from millstream.sdk.testing import ConformanceCase, ExpectedValue, NotApplicable, Peer

ROWS_COUNT = 900  # of each of two files: more than two batches
LONG = "x" * 65_536
START_MS = 1_700_000_000_000


@dataclass
class FolderPeer(Peer):
    """Two files and a third that grows."""

    folder: Path = Path()
    write: Callable[[Path, int, int], None] = field(default=lambda path, first, count: None)
    suffix: str = "csv"
    bad_row: bytes = b"nonsense\n"
    rows_count: int = 2 * ROWS_COUNT

    async def produce(self) -> None:
        """A row more."""
        if not self.folder.exists():
            return
        if self.suffix == "parquet":
            self.write(self.folder / f"c{self.rows_count:06d}.parquet", self.rows_count, 1)
        else:
            self.write(self.folder / f"c.{self.suffix}", self.rows_count, 1)
        self.rows_count += 1

    async def break_link(self) -> None:
        """The folder is gone, as a network share may be."""
        self.folder.rename(self.folder.with_name("away"))

    async def restore_link(self) -> None:
        """Back."""
        self.folder.with_name("away").rename(self.folder)

    async def poison(self) -> None:
        """A row that is none."""
        name = f"b.{self.suffix}" if self.suffix != "parquet" else "d.parquet"
        with (self.folder / name).open("ab") as stream:
            stream.write(self.bad_row)

    async def flood(self, limit_bytes: int) -> int:
        """Nothing is taken that was not asked for."""
        raise NotApplicable("the session reads a bounded part of a file for each batch, so nothing can pile up")


def write_csv(path: Path, first: int, count: int) -> None:
    """As a German spreadsheet would, by appending."""
    with path.open("a", encoding="cp1252") as stream:
        if stream.tell() == 0:
            stream.write("Prüfstand 7\nZeit;Höhe;Zustand\n")
        for i in range(first, first + count):
            stream.write(f"{START_MS + 10 * i};{i},5;{'ein' if i % 2 else 'aus'}\n")


def write_jsonl(path: Path, first: int, count: int) -> None:
    """Nested members."""
    with path.open("a", encoding="utf-8") as stream:
        for i in range(first, first + count):
            stream.write(f'{{"at":{START_MS + 10 * i},"press":{{"mm":{i}.5}},"state":"{i % 2}"}}\n')


def write_parquet(path: Path, first: int, count: int) -> None:
    """Small row groups."""
    rows = range(first, first + count)
    times = pa.array([(START_MS + 10 * i) * 1_000_000 for i in rows], pa.timestamp("ns", "UTC"))
    table = pa.table({"at": times, "height": [i * 0.5 for i in rows], "state": [str(i % 2) for i in rows]})
    pq.write_table(table, path.with_suffix(".tmp"), row_group_size=200)
    path.with_suffix(".tmp").rename(path)


EXTREMES: dict[str, Any] = {
    "nan": math.nan,
    "inf": math.inf,
    "minus_inf": -math.inf,
    "int_max": 2**63 - 1,
    "int_min": -(2**63),
    "uint_max": 2**64 - 1,
    "float_max": 1.7976931348623157e308,
    "empty": "",
    "long": LONG,
    "text": 'quotes " and ; and ü',
    "truth": True,
}
_TYPES = {"nan": "float", "inf": "float", "minus_inf": "float", "truth": "bool"}


def csv_extremes(folder: Path) -> None:
    """Every extreme as text."""
    names = [name for name in EXTREMES if name != "empty"]
    cells = ['"' + str(EXTREMES[name]).replace('"', '""').replace(".", ",") + '"' for name in names]
    text = f"\n{';'.join(['Zeit', 'Höhe', 'Zustand', *names])}\n{START_MS};0,5;aus;{';'.join(cells)}\n"
    (folder / "A.csv").write_text(text, encoding="cp1252")


def jsonl_extremes(folder: Path) -> None:
    """Every extreme as JSON."""
    (folder / "A.jsonl").write_text(
        json.dumps({"at": START_MS, "press": {"mm": 0.5}, "state": "1", **EXTREMES}) + "\n", encoding="utf-8"
    )


def parquet_extremes(folder: Path) -> None:
    """Every extreme with its type."""
    columns: dict[str, Any] = {name: [value] for name, value in EXTREMES.items() if name != "uint_max"}
    columns |= {"height": [0.5], "state": ["1"]}
    columns["uint_max"] = pa.array([2**64 - 1], pa.uint64())
    columns["at"] = pa.array([START_MS * 1_000_000], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table(columns), folder / "A.parquet")


class FilesCase(ConformanceCase):
    """One format."""

    connector = FilesConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    def __init__(
        self, suffix: str, write: Callable[[Path, int, int], None], add_extremes: Callable[[Path], None],
        config: dict[str, Any], addresses: tuple[str, str],
    ) -> None:  # fmt: skip
        self._suffix, self._write, self._add_extremes = suffix, write, add_extremes
        self._config, self._addresses = config, addresses

    def __repr__(self) -> str:
        return f"FilesCase-{self._suffix}"

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A folder of its own."""
        with TemporaryDirectory() as root:
            folder = Path(root) / "watched"
            folder.mkdir()
            for i, name in enumerate("ab"):
                self._write(folder / f"{name}.{self._suffix}", i * ROWS_COUNT, ROWS_COUNT)
            self._add_extremes(folder)
            kind = {} if self._suffix != "csv" else _TYPES | {"int_max": "int", "int_min": "int", "uint_max": "int"}
            peer = FolderPeer(
                {"folder": str(folder), "pattern": f"*.{self._suffix}", "poll_interval": "20ms", **self._config},
                tuple(Tag(key, address) for key, address in zip(("height", "state"), self._addresses, strict=True)),
                None if self._suffix == "jsonl" else Tag("bad", "no_such_column"),
                [
                    ExpectedValue(Tag(name, name, options={"data_type": kind[name]} if name in kind else {}), value)
                    for name, value in EXTREMES.items()
                    if (name, self._suffix) not in (("empty", "csv"), ("text", ""))
                    and not (self._suffix == "jsonl" and name in ("nan", "inf", "minus_inf"))
                ],
                samples_count=4 * ROWS_COUNT + 2,
                is_endless=True,
                folder=folder,
                write=self._write,
                suffix=self._suffix,
            )
            try:
                yield peer
            finally:
                shutil.rmtree(folder.with_name("away"), ignore_errors=True)


CASES = (
    FilesCase(
        "csv",
        write_csv,
        csv_extremes,
        {
            "encoding": "cp1252", "delimiter": ";", "decimal_mark": ",", "skip_lines": 1, "time_columns": ["Zeit"],
            "time_format": "ms",
        },
        ("Höhe", "Zustand"),
    ),
    FilesCase(
        "jsonl", write_jsonl, jsonl_extremes, {"time_columns": ["at"], "time_format": "ms"}, ("$.press.mm", "state")
    ),
    FilesCase(
        "parquet", write_parquet, parquet_extremes, {"time_columns": ["at"], "settle_time": "0s"}, ("height", "state")
    ),
)  # fmt: skip
