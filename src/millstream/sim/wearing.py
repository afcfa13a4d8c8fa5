"""Things that wear until they are worn out, made from a seed: each at a pace of its own, steadily, by shares, or ever
faster, wandering on the way, and measured with noise. The end is where the wear itself reaches the limit, not what is
measured."""

from __future__ import annotations

import argparse
import csv
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

START_NS = 1_767_225_600_000_000_000
EVERY_NS = 600_000_000_000
NEW, LIMIT = 1.0, 1.4
Kind = Literal["linear", "exponential", "faster"]
KINDS: Sequence[Kind] = ("linear", "exponential", "faster")


@dataclass(frozen=True, slots=True)
class Life:
    """Measured values up to the end, one each ten minutes."""

    times_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    end_ns: int


def life(seed: int, kind: Kind, *, noise: float = 0.02, wander: float = 0.02) -> Life:
    """From new to worn out. `noise` and `wander` (over the whole life) are standard deviations."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(150, 400))
    share = np.arange(2 * count) / count
    wear = {
        "linear": NEW + (LIMIT - NEW) * share,
        "exponential": NEW * (LIMIT / NEW) ** share,
        "faster": NEW + (LIMIT - NEW) * share**2,
    }[kind]
    wear = wear + wander * np.cumsum(rng.standard_normal(len(wear))) / np.sqrt(count)
    end = int(np.argmax(wear >= LIMIT)) or len(wear) - 1
    times = START_NS + EVERY_NS * np.arange(end, dtype=np.int64)
    return Life(times, wear[:end] + noise * rng.standard_normal(end), START_NS + EVERY_NS * end)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write series from new to worn out for `millstream evaluate`, and when each ends."""
    options = argparse.ArgumentParser(prog="python -m millstream.sim.wearing", description=main.__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--lives", type=int, default=10)
    options.add_argument("--kind", choices=KINDS, default="linear")
    chosen = options.parse_args(arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    ends = {}
    for number in range(chosen.lives):
        one = life(chosen.seed * 1000 + number, chosen.kind)
        name = f"{chosen.kind}-{number}.csv"
        with (chosen.folder / name).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("time", "wear"))
            rows.writerows(
                (_iso(int(at_ns)), f"{value:.5g}") for at_ns, value in zip(one.times_ns, one.values, strict=True)
            )
        ends[name] = _iso(one.end_ns)
    (chosen.folder / "ends.json").write_text(json.dumps(ends, indent=1) + "\n", encoding="utf-8")


def _iso(time_ns: int) -> str:
    return datetime.datetime.fromtimestamp(time_ns / 1e9, datetime.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    main()
