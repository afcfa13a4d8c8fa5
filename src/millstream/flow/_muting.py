"""A version that takes over from an older one says nothing about what the older one has said already. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping

from millstream.flow._codec import Commit

_PARTITIONS, _TICK = "of", "tick"
_PART = "#"  # behind a stream's name: how much of the message after `seq`
_OLDER = "<"  # before a name: what the version before that one has said


def partition_of(key: str, partitions: int) -> int:
    """Where a key lives: the same on every machine and in every process."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % partitions if partitions > 1 else 0


def muted_by(finals: Mapping[int, Commit]) -> dict[str, int]:
    """What the final records of all partitions of the older version have said, in the form that a state record
    keeps. A version that was still silent about one before it hands that on."""
    muted = {_PARTITIONS: len(finals)}
    for partition, commit in finals.items():
        for stream, offset in commit.offsets.items():
            muted[f"{partition}/{stream}"] = offset.seq
            if offset.facts:
                muted[f"{partition}/{stream}{_PART}"] = offset.facts
        muted[f"{partition}/{_TICK}"] = commit.tick_ns
    older = next((commit.muted for commit in finals.values() if commit.muted), {})
    return muted | {f"{_OLDER}{name}": at for name, at in older.items()}


class Muting:
    """Looks things up in what `muted_by` made; an empty mapping mutes nothing."""

    def __init__(self, muted: Mapping[str, int]) -> None:
        self._versions: list[dict[str, int]] = []
        self._bounds: dict[str, int] = {}
        self.tick_ns = 0
        for marked, at in muted.items():
            name = marked.lstrip(_OLDER)
            age = len(marked) - len(name)
            while len(self._versions) <= age:
                self._versions.append({})
            self._versions[age][name] = at
            stream = name.partition("/")[2]
            if stream == _TICK:
                self.tick_ns = max(self.tick_ns, at)
            elif stream and not stream.endswith(_PART):
                self._bounds[stream] = max(at, self._bounds.get(stream, 0))

    def mutes(self, key: str, stream: str, seq: int, fact: int = 0) -> bool:
        """True when an older version has taken this input of the key: sample `fact` of a message."""
        for version in self._versions:
            place = f"{partition_of(key, version.get(_PARTITIONS, 1))}/{stream}"
            last_seq = version.get(place, 0)
            if seq <= last_seq or (seq == last_seq + 1 and fact < version.get(place + _PART, 0)):
                return True
        return False

    def mutes_timer(self, key: str, at_ns: int) -> bool:
        """True when an older version has fired this timer of the key."""
        return any(
            at_ns <= version.get(f"{partition_of(key, version.get(_PARTITIONS, 1))}/{_TICK}", 0)
            for version in self._versions
        )

    def is_behind(self, positions: Mapping[str, int], streams: Collection[str]) -> bool:
        """True while one of `streams` was not read as far as an older version has."""
        return any(positions.get(stream, 0) < self._bounds.get(stream, 0) for stream in streams)
