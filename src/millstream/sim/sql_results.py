"""A simulated test bench that writes its results into SQLite: python -m millstream.sim.sql_results --file bench.sqlite.

The first line on standard output is ``{"file": .., "table": "results", "last_id": ..}``. A row a part: ``id`` counts on
over restarts, ``at`` is the bench's clock as ISO text, ``force`` in kilonewton, ``result`` OK or NOK.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

from millstream.sim._serving import ending, moving, say
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze

TABLE = """CREATE TABLE IF NOT EXISTS results
(id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, part TEXT NOT NULL, force REAL, result TEXT NOT NULL)"""
FORCE_MIN = 8.5


class Bench:
    """One file."""

    def __init__(self, connection: sqlite3.Connection, clock: DeviceClock, freeze: Freeze) -> None:
        self._connection = connection
        self._clock = clock
        self._freeze = freeze
        self._now_s = time.time()
        with connection:
            connection.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the bench, nor it for them
            connection.execute(TABLE)

    @property
    def last_id(self) -> int:
        """Of the newest row; 0 for none."""
        (found,) = self._connection.execute("SELECT COALESCE(MAX(id), 0) FROM results").fetchone()
        return int(found)

    def write(self) -> None:
        """One part, in a transaction of its own."""
        if not self._freeze.is_on:
            self._now_s = time.time()
        force = round(10.0 + 2.0 * math.sin(self._now_s / 7), 3)
        at = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC).isoformat()
        row = (at, f"P{self.last_id + 1:06}", force, "OK" if force >= FORCE_MIN else "NOK")
        with self._connection:
            self._connection.execute("INSERT INTO results (at, part, force, result) VALUES (?, ?, ?, ?)", row)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sql_results", description="A simulated test bench that writes into SQLite.")
    parser.add_argument("--file", type=Path, required=True, help="made when it is not there")
    parser.add_argument("--rate", type=float, default=2.0, help="parts a second")
    add_clock(parser)
    add_freeze(parser)
    options = parser.parse_args(arguments)
    if not 0 < options.rate <= 1000:
        parser.error("--rate is above 0 and at most 1000")
    return options


async def run(options: argparse.Namespace) -> None:
    """Be the bench until a signal."""
    end = ending()
    connection = sqlite3.connect(options.file)
    try:
        clock = DeviceClock(options.clock_offset, options.clock_drift)
        bench = Bench(connection, clock, Freeze(options.freeze_after))
        say(file=str(options.file.absolute()), table="results", last_id=bench.last_id)
        await moving(end, bench.write, 1 / options.rate)
    finally:
        connection.close()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
