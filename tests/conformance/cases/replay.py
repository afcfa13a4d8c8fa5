"""Replay of each kind of file."""

from __future__ import annotations

import gzip
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

import millstream.connectors.replay as package
from millstream.connectors.replay import ReplayConnector
from millstream.sdk import Tag
from millstream.sdk.testing import ConformanceCase, ExpectedValue, Peer

ROWS_COUNT = 1500  # more than two batches
LONG = "x" * 65_536


def write_shdr(folder: Path) -> Peer:
    """Times with seven digits, one of them backwards."""
    lines = [f"2026-01-01T00:{i // 60 % 60:02d}:{i % 60:02d}.{i:07d}Z|a|{i}|b|text {i}" for i in range(ROWS_COUNT // 2)]
    lines[100] = "2025-12-31T23:00:00Z|a|-1|b|earlier"
    path = folder / "day.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return Peer({"file": str(path), "speed": "max"}, (Tag("a", "a"), Tag("b", "b")), samples_count=2 * len(lines))


def write_csv(folder: Path) -> Peer:
    """Shifted, looped in the cases that need endless data."""
    path = folder / "day.csv"
    rows = "".join(f"{1_700_000_000_000 + 10 * i},{i * 0.5},{'on' if i % 2 else 'off'}\n" for i in range(ROWS_COUNT))
    path.write_text("t,level,state\n" + rows, encoding="utf-8")
    return Peer(
        {"file": str(path), "time_unit": "ms", "times": "shift", "speed": 100.0},
        (Tag("level", "level"), Tag("state", "state")),
        samples_count=2 * ROWS_COUNT,
    )


def write_jsonl(folder: Path) -> Peer:
    """Every extreme, then ordinary records."""
    path = folder / "day.jsonl"
    extremes = {
        "nan": ('{"$float":"NaN"}', math.nan),
        "inf": ('{"$float":"Infinity"}', math.inf),
        "minus_inf": ('{"$float":"-Infinity"}', -math.inf),
        "int_max": (str(2**63 - 1), 2**63 - 1),
        "int_min": (str(-(2**63)), -(2**63)),
        "uint_max": (str(2**64 - 1), 2**64 - 1),
        "empty": ('""', ""),
        "long": (f'"{LONG}"', LONG),
        "bytes": ('{"$bytes":"AP8="}', b"\x00\xff"),
        "list": ("[1,[2.5,null]]", [1, [2.5, None]]),
        "truth": ("true", True),
    }
    stamp = '"time":"2026-01-01T00:00:00Z"'
    lines = [f'{{"tag":"{name}",{stamp},"value":{text}}}' for name, (text, _) in extremes.items()]
    lines += [f'{{"tag":"a",{stamp},"value":{i}}}' for i in range(ROWS_COUNT)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Peer(
        {"file": str(path), "speed": "max", "times": "shift"},
        (Tag("a", "a"),),
        extremes=[ExpectedValue(Tag(name, name), value) for name, (_, value) in extremes.items()],
        samples_count=ROWS_COUNT,
    )


def write_waveform(folder: Path) -> Peer:
    """Two channels in blocks, at many times their speed."""
    path = folder / "cell.npz"
    wave = np.sin(np.arange(5000, dtype=np.float32))
    np.savez(path, current=wave, tool=np.arange(5000, dtype=np.int32), rate_hz=np.array(1000.0))
    return Peer(
        {"file": str(path), "times": "shift", "speed": 50.0, "block_duration": "300ms"},
        (Tag("current", "current"), Tag("tool", "tool")),
        samples_count=2 * 5000,
    )


class ReplayCase(ConformanceCase):
    """One kind of file."""

    connector = ReplayConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    def __init__(self, write: Callable[[Path], Peer]) -> None:
        self._write = write

    def __repr__(self) -> str:
        return f"ReplayCase-{self._write.__name__.removeprefix('write_')}"

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A file in a folder of its own."""
        with TemporaryDirectory() as folder:
            peer = self._write(Path(folder))
            peer.bad_tag = Tag("bad", "no_such_column")
            yield peer


class LoopCase(ReplayCase):
    """Endless, so that a session outlives jumps of the clock."""

    def __init__(self) -> None:
        super().__init__(write_csv)

    def __repr__(self) -> str:
        return "ReplayCase-loop"

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """As the CSV case, without an end."""
        async with super().peer() as peer:
            config: dict[str, Any] = {**peer.config, "loop": True, "speed": 1000.0}
            peer.config = config
            peer.samples_count = 5 * ROWS_COUNT  # into the third pass
            peer.is_endless = True
            yield peer


CASES = (*(ReplayCase(write) for write in (write_shdr, write_csv, write_jsonl, write_waveform)), LoopCase())
