"""A simulated test bench that writes its results into CSV files: python -m millstream.sim.csv_results --folder results.

The first line on standard output is ``{"folder": .., "pattern": .., "last": ..}``. A row a part, with a heading and
decimal commas, as German benches write them: ``Time;Part;Force;Result``. After --rows the file is renamed to
``result-NNNNNN.csv.1`` and the next one begun, so a reader has to follow the rename without missing or repeating a row.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from datetime import UTC, datetime
from pathlib import Path

from millstream.sim._serving import ending, moving, say
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze

HEADING = "Time;Part;Force;Result\n"
FORCE_MIN = 8.5
PATTERN = "result-*.csv*"


class Bench:
    """One folder. Goes on behind the newest file that lies there."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._clock = DeviceClock(options.clock_offset, options.clock_drift)
        self._freeze = Freeze(options.freeze_after)
        self._now_s = time.time()
        options.folder.mkdir(parents=True, exist_ok=True)
        files = sorted(options.folder.glob(PATTERN))
        self._file_number = max((int(file.name[7:13]) for file in files), default=0)
        self.last = sum(len(file.read_text("utf-8").splitlines()) - 1 for file in files)
        self._rows = self._options.rows  # begin a file of its own
        for file in files:
            if file.suffix == ".csv":
                self._put_away(file)

    def _file(self) -> Path:
        folder: Path = self._options.folder
        return folder / f"result-{self._file_number:06}.csv"

    @staticmethod
    def _put_away(file: Path) -> None:
        file.rename(file.with_name(file.name + ".1"))

    def write(self) -> None:
        """One part."""
        if self._rows >= self._options.rows:
            if self._file().exists():
                self._put_away(self._file())
            self._file_number, self._rows = self._file_number + 1, 0
            self._file().write_text(HEADING, encoding="utf-8")
        if not self._freeze.is_on:
            self._now_s = time.time()
        self.last, self._rows = self.last + 1, self._rows + 1
        force = 10.0 + 2.0 * math.sin(self._now_s / 7)
        at = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        force_text = f"{force:.3f}".replace(".", ",")
        result = "OK" if force >= FORCE_MIN else "NOK"
        with self._file().open("a", encoding="utf-8") as file:
            file.write(f"{at.isoformat()};P{self.last:06};{force_text};{result}\n")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="csv_results", description="A simulated test bench that writes CSV files.")
    parser.add_argument("--folder", type=Path, required=True, help="made when it is not there")
    parser.add_argument("--rate", type=float, default=2.0, help="parts a second")
    parser.add_argument("--rows", type=int, default=1000, help="of a file, before it is renamed and the next one begun")
    add_clock(parser)
    add_freeze(parser)
    options = parser.parse_args(arguments)
    if not 0 < options.rate <= 1000 or options.rows < 1:
        parser.error("--rate is above 0 and at most 1000, --rows at least 1")
    return options


async def run(options: argparse.Namespace) -> None:
    """Be the bench until a signal."""
    end = ending()
    bench = Bench(options)
    say(folder=str(options.folder.absolute()), pattern=PATTERN, last=bench.last)
    await moving(end, bench.write, 1 / options.rate)


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
