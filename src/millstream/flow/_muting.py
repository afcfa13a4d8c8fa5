"""A version that takes over from an older one says nothing about what the older one has said already. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping

from millstream.flow._codec import Commit

_PARTITIONS, _TICK = "of", "tick"


def partition_of(key: str, partitions: int) -> int:
    """Where a key lives: the same on every machine and in every process."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % partitions if partitions > 1 else 0


def muted_by(finals: Mapping[int, Commit]) -> dict[str, int]:
    """What the final records of all partitions of the older version have said, in the form that a state record
    keeps."""
    muted = {_PARTITIONS: len(finals)}
    for partition, commit in finals.items():
        muted |= {f"{partition}/{stream}": offset.seq for stream, offset in commit.offsets.items()}
        muted[f"{partition}/{_TICK}"] = commit.tick_ns
    return muted


class Muting:
    """Looks things up in what `muted_by` made; an empty mapping mutes nothing."""

    def __init__(self, muted: Mapping[str, int]) -> None:
        self._muted = muted
        self._partitions = muted.get(_PARTITIONS, 1)
        self.tick_ns = max((at for name, at in muted.items() if name.endswith(f"/{_TICK}")), default=0)
        self._bounds: dict[str, int] = {}
        for name, seq in muted.items():
            stream = name.partition("/")[2]
            if stream and stream != _TICK:
                self._bounds[stream] = max(seq, self._bounds.get(stream, 0))

    def mutes(self, key: str, stream: str, seq: int) -> bool:
        """True when the older version has taken this input of the key."""
        return seq <= self._muted.get(f"{partition_of(key, self._partitions)}/{stream}", 0)

    def mutes_timer(self, key: str, at_ns: int) -> bool:
        """True when the older version has fired this timer of the key."""
        return at_ns <= self._muted.get(f"{partition_of(key, self._partitions)}/{_TICK}", 0)

    def is_behind(self, positions: Mapping[str, int], streams: Collection[str]) -> bool:
        """True while one of `streams` was not read as far as the older version has."""
        return any(positions.get(stream, 0) < self._bounds.get(stream, 0) for stream in streams)
