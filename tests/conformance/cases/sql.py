"""SQL against SQLite; PostgreSQL is in tests/integration/sql."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import millstream.connectors.sql as package
from millstream.connectors.sql import SqlConnector
from millstream.sdk import Tag
from millstream.sdk.testing import ConformanceCase, ExpectedValue, NotApplicable, Peer

ROWS_COUNT = 2_000
LONG = "x" * 65_536
EXTREMES: dict[str, Any] = {
    "inf": float("inf"),
    "minus_inf": float("-inf"),
    "int_max": 2**63 - 1,
    "int_min": -(2**63),
    "float_max": 1.7976931348623157e308,
    "empty": "",
    "long": LONG,
    "text": "quotes ' and \" and ü",
    "raw": b"\x00\xff",
}


@dataclass
class DatabasePeer(Peer):
    """A table that grows."""

    path: Path = Path()
    rows_count: int = 0

    def add(self, count: int) -> None:
        """Rows, the last of them half a second after the first."""
        with closing(sqlite3.connect(self.path)) as database, database:
            rows = [(i, f"2026-01-01 00:00:{i % 60:02d}", i * 0.5, f"row {i}") for i in self._numbers(count)]
            database.executemany("INSERT INTO results (id, at, force, name) VALUES (?, ?, ?, ?)", rows)

    def _numbers(self, count: int) -> range:
        first, self.rows_count = self.rows_count, self.rows_count + count
        return range(first, first + count)

    async def produce(self) -> None:
        """One more row."""
        self.add(1)

    async def poison(self) -> None:
        """A row whose time is none."""
        with closing(sqlite3.connect(self.path)) as database, database:
            (number,) = self._numbers(1)
            database.execute("INSERT INTO results (id, at, force) VALUES (?, 'noon', 1.0)", (number,))

    async def flood(self, limit_bytes: int) -> int:
        """Nothing comes that was not asked for."""
        raise NotApplicable("the session asks for a bounded number of rows, so nothing can pile up")


class SqliteCase(ConformanceCase):
    """A file."""

    connector = SqlConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A database of its own."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "mes.sqlite"
            with closing(sqlite3.connect(path)) as database, database:
                database.execute(
                    "CREATE TABLE results (id INTEGER PRIMARY KEY, at TEXT, force REAL, name TEXT,"
                    f" {', '.join(EXTREMES)})"
                )
            config = {"file": str(path), "table": "results", "key": ["id"], "time_columns": ["at"]}
            peer = DatabasePeer(
                {**config, "poll_interval": "20ms", "overlap_steps": 5},
                (Tag("force", "force"), Tag("name", "name")),
                Tag("bad", "no_such_column"),
                [ExpectedValue(Tag(name, name), value) for name, value in EXTREMES.items()],
                samples_count=2 * ROWS_COUNT,
                is_endless=True,
                path=path,
            )
            peer.add(ROWS_COUNT)
            with closing(sqlite3.connect(path)) as database, database:
                marks = ", ".join(f"{name} = ?" for name in EXTREMES)
                database.execute(f"UPDATE results SET {marks} WHERE id = 0", tuple(EXTREMES.values()))
            yield peer


CASES = (SqliteCase(),)
