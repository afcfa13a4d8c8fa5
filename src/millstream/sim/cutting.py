"""Cuts of a milling machine at 1 kHz and what its controller tells, made from a seed: good ones, wear, breaks, gaps.

The force is that of the teeth in the material: each takes a chip whose thickness follows its angle, and Kienzle's law
gives the force of a chip (F = kc1.1 * b * h^(1 - mc)). Teeth run out, blanks differ in hardness, the depth of cut
changes along the path, the sensor has noise and the spindle a load of its own. A tool that breaks gives a shock of some
milliseconds and then cuts nothing, a broken tooth leaves its chip to the next one. No number in here comes from a
recording.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

RATE_HZ = 1000
WINDOW = 50
WEAR_CUT = 0.004  # of the force, with each cut
START_NS = 1_767_225_600_000_000_000
MS_NS = 1_000_000
KC_N_MM2, MC = 1700.0, 0.25  # of steel: specific force of a chip 1 mm thick, and how it grows in thin ones
RUNOUT, HARDNESS, NOISE, ENTRY_S = 0.05, 0.03, 0.03, 0.15
AIR_N = 12.0
SHOCK_S, SHOCK_TIMES = 0.008, 5.0

Wave = npt.NDArray[np.float64]
Breakage = Literal["", "tool", "tooth"]


@dataclass(frozen=True, slots=True)
class Work:
    """What one operation does: its tool, how long it cuts, and the depth of cut (mm) along the path, evenly spaced."""

    program: str
    tool: int
    seconds: float
    depths_mm: Sequence[float]
    teeth: int = 4
    spindle_hz: float = 25.0
    chip_mm: float = 0.12


@dataclass(frozen=True, slots=True)
class Made:
    """One cut with its pause before and after: times (UTC ns), force (N), whether the controller says that it cuts, and
    the stretch (ns) in which the tool is broken, if it is."""

    work: Work
    times_ns: npt.NDArray[np.int64]
    force: Wave
    start_ns: int
    end_ns: int
    broken: tuple[int, int] | None


ROUGHING = Work("O100", 3, 3.2, (2.0, 2.0, 3.0, 3.0, 1.2, 2.0, 2.0), teeth=4)
FINISHING = Work("O100", 7, 2.1, (0.4, 0.5, 0.5, 0.4), teeth=6, spindle_hz=40.0, chip_mm=0.05)
PART = (ROUGHING, FINISHING)


class Mill:
    """A machine with a clock and tools that wear; the same seed gives the same cuts."""

    def __init__(self, seed: int, start_ns: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._now_ns = start_ns

    def cut(self, work: Work, *, wear: float = 1.0, breaks: Breakage = "", at: float = 0.5, feed: float = 1.0) -> Made:
        """The next cut. `wear`: by how much the force has grown; `at`: where it breaks (0 to 1); `feed`: override."""
        rng = self._rng
        seconds = work.seconds / feed * float(rng.normal(1, 0.002))
        before, after = float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.4, 0.8))
        count, first, last = (round(s * RATE_HZ) for s in (before + seconds + after, before, before + seconds))
        force = AIR_N * (1 + 0.1 * rng.standard_normal(count))
        at_s = np.arange(last - first) / RATE_HZ
        broken_at = round(at * len(at_s)) if breaks else len(at_s)
        hardness = float(rng.normal(1, HARDNESS)) * wear * feed ** (1 - MC)
        force[first:last] += hardness * _teeth(work, at_s, rng, broken_at if breaks == "tooth" else None)
        if breaks == "tool":
            force[first + broken_at : last] = AIR_N * (1 + 0.1 * rng.standard_normal(last - first - broken_at))
            shock = round(SHOCK_S * RATE_HZ)
            height = SHOCK_TIMES * float(force[first : first + broken_at].mean())
            force[first + broken_at : first + broken_at + shock] += height * np.sin(np.linspace(0.2, np.pi, shock))
        force *= 1 + NOISE * rng.standard_normal(count)
        times = self._now_ns + np.arange(count, dtype=np.int64) * MS_NS
        self._now_ns = int(times[-1]) + MS_NS
        span = (int(times[first + broken_at]), int(times[last - 1])) if breaks else None
        return Made(work, times, force, int(times[first]), int(times[last]), span)


def _teeth(work: Work, at_s: Wave, rng: np.random.Generator, broken_at: int | None) -> Wave:
    depth = np.interp(at_s / at_s[-1], np.linspace(0, 1, len(work.depths_mm)), work.depths_mm)
    left = at_s[-1] - at_s
    depth *= np.clip(np.minimum(at_s, left) / ENTRY_S, 0, 1)
    runout = 1 + RUNOUT * rng.standard_normal(work.teeth)
    phase = float(rng.uniform(0, 2 * np.pi))
    total = np.zeros_like(at_s)
    for tooth in range(work.teeth):
        chip = np.full_like(at_s, work.chip_mm * runout[tooth])
        if broken_at is not None and tooth == 0:
            chip[broken_at:] = 0
        if broken_at is not None and tooth == 1:
            chip[broken_at:] *= 2
        angle = (2 * np.pi * (work.spindle_hz * at_s - tooth / work.teeth) + phase) % (2 * np.pi)
        thickness = np.where(angle < np.pi, chip * np.sin(angle), 0.0)
        total += KC_N_MM2 * depth * np.maximum(thickness, 0) ** (1 - MC)
    return total


def features(made: Made, window: int) -> Iterator[tuple[int, float, float]]:
    """Time (of the last sample), RMS about the mean and mean of each full window of a cut: what `waveform` would give,
    without the flow."""
    for first in range(0, len(made.force) - window + 1, window):
        part = made.force[first : first + window]
        yield int(made.times_ns[first + window - 1]), float(part.std()), float(part.mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a labelled series for `millstream evaluate`: features of 50 ms and what the controller tells."""
    options = argparse.ArgumentParser(prog="python -m millstream.sim.cutting", description=main.__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--parts", type=int, default=40)
    options.add_argument("--learn", type=int, default=7, help="parts at the beginning in which nothing breaks")
    options.add_argument("--break-share", type=float, default=0.1, help="of the cuts after that")
    chosen = options.parse_args(arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    series = f"cuts-{chosen.seed}.csv"
    windows = []
    with (chosen.folder / series).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("time", "force/rms", "force/mean", "program", "tool", "cutting"))
        for made in shift(chosen.seed, chosen.parts, chosen.learn, chosen.break_share):
            if made.broken is not None:
                windows.append([_iso(each) for each in made.broken])
            for at_ns, rms, mean in features(made, WINDOW):
                cuts = int(made.start_ns <= at_ns < made.end_ns)
                rows.writerow((_iso(at_ns), f"{rms:.4g}", f"{mean:.4g}", made.work.program, made.work.tool, cuts))
    labels = chosen.folder / f"windows-{chosen.seed}.json"
    labels.write_text(json.dumps({series: windows}) + "\n", encoding="utf-8")


def shift(seed: int, parts: int, learn: int, break_share: float) -> Iterator[Made]:
    """So many parts, each with a roughing and a finishing cut. Tools wear from part to part; one that breaks is
    replaced, so the next cut is a good one."""
    chance = np.random.default_rng((seed, 1))
    mill = Mill(seed, START_NS)
    age = dict.fromkeys((work.tool for work in PART), 0)
    for number in range(parts):
        for work in PART:
            age[work.tool] += 1
            breaks: Breakage = ""
            if number >= learn and chance.random() < break_share:
                breaks = "tool" if chance.random() < 0.5 else "tooth"
            at = float(chance.uniform(0.1, 0.9))
            yield mill.cut(work, wear=1 + WEAR_CUT * age[work.tool], breaks=breaks, at=at)
            if breaks:
                age[work.tool] = 0


def _iso(time_ns: int) -> str:
    return datetime.datetime.fromtimestamp(time_ns / 1e9, datetime.UTC).isoformat(timespec="milliseconds")


if __name__ == "__main__":
    main()
