"""Cuts of machines at 1 kHz: what their force and their controllers say, when their tools break, and the flows' words
for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

START_NS = 1_767_225_600_000_000_000
RATE_HZ = 1000
BLOCK = 32
BLOCK_MS = BLOCK * 1000 // RATE_HZ
MS_NS = 1_000_000
PERIOD, CUT = 2000, 1600  # samples from cut to cut, and of one
AIR = 0.1  # of the load
TONE_HZ = 200
DELAY_MS_MAX = 100.0
SAID = ("tool", "program", "cutting")
SETTINGS: Mapping[str, Any] = {"tool": 7, "program": "O100"}
BANDS = {"meshing": {"low_hz": 180, "high_hz": 260}}
LOADS = ("rms", "band/meshing")
TOOL: Mapping[str, Any] = {
    "loads": {"level": "force/rms", "meshing": "force/band/meshing"}, "tool": "tool",
    "operation": {"program": "program"}, "cutting": "cutting", "learn": 3,
}  # fmt: skip


def breaks_of(channels: int, seconds: int) -> dict[int, int]:
    """The sample of each channel's break, somewhere in the middle of the last cut."""
    last_cut = (seconds * RATE_HZ // PERIOD - 1) * PERIOD
    return {channel: last_cut + 300 + int(np.random.default_rng(channel).integers(1000)) for channel in range(channels)}


def force(
    numbers: npt.NDArray[np.int64], broken: int, noise: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Noise about a tone at these samples, while it cuts, up to the break."""
    load = np.where((numbers % PERIOD < CUT) & (numbers < broken), 1.0, AIR)
    return np.asarray(load * (noise + 3 * np.sin(2 * np.pi * TONE_HZ * numbers / RATE_HZ)))
