"""What a simulated device wrote down about its own parts: synced before a part is first sent, so that it is the truth.

One JSON line an entry: ``made`` before the first attempt, ``send`` for each attempt, ``ack`` when the receiver took the
part, ``final`` when the device has stopped and nothing is left unacknowledged. A torn last line is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec


class Part(msgspec.Struct, frozen=True, gc=False):
    """One part. `n` counts a machine's parts from 1, `time_ns` is the device's own clock (UTC), `grams` the weight."""

    n: int
    time_ns: int
    grams: float


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One line."""

    e: Literal["made", "send", "ack", "final"]
    machine: str = ""
    n: int = 0
    time_ns: int = 0
    grams: float = 0.0


@dataclass(slots=True)
class MachineTruth:
    """One machine, as its ledger tells."""

    made: list[Part] = field(default_factory=list)
    acked: set[int] = field(default_factory=set)
    sends: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Truth:
    """A whole ledger."""

    machines: dict[str, MachineTruth] = field(default_factory=dict)
    is_final: bool = False

    def take(self, entry: Entry) -> None:
        """One more line."""
        if entry.e == "final":
            self.is_final = True
            return
        machine = self.machines.setdefault(entry.machine, MachineTruth())
        if entry.e == "made":
            machine.made.append(Part(entry.n, entry.time_ns, entry.grams))
        elif entry.e == "send":
            machine.sends[entry.n] = machine.sends.get(entry.n, 0) + 1
        else:
            machine.acked.add(entry.n)

    @property
    def made_count(self) -> int:
        """Parts that were attempted."""
        return sum(len(m.made) for m in self.machines.values())

    @property
    def acked_count(self) -> int:
        """Parts that somebody took."""
        return sum(len(m.acked) for m in self.machines.values())


_decode = msgspec.json.Decoder(Entry).decode
_encode = msgspec.json.Encoder().encode


class LedgerWriter:
    """Appends; `sync` makes what was added survive a power loss."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._has_more = False

    def add(self, entries: Iterable[Entry]) -> None:
        """Write lines; not yet synced."""
        for entry in entries:
            self._file.write(_encode(entry) + b"\n")
            self._has_more = True

    def sync(self) -> None:
        """Flush and fsync, if there is anything."""
        if self._has_more:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._has_more = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sync()
        self._file.close()


class LedgerFollower:
    """Reads a ledger that is still being written; each `look` takes what was added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.truth = Truth()

    def look(self) -> Truth:
        """The truth as of now."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return self.truth
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self.truth.take(_decode(line))
        return self.truth


def read_ledger(path: Path) -> Truth:
    """The whole ledger; empty when there is none."""
    return LedgerFollower(path).look()
