"""Where the bytes of a plain Arrow block stand, so that one like it is written and read without a library.

Blocks of one length, type and metadata differ in their times, values, qualities and ingest time alone: what stands
around these columns is the same in each. A layout is kept only when it gives blocks that the Arrow library writes, byte
by byte; a block is read by a layout only when all that stands around its columns is equal. Cost: about 3 us instead of
15 to 25.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LAYOUTS_MAX = 512  # of kinds, and of sizes; what comes beyond is left to the library
SIGHTINGS_MIN, SIGHTINGS_MAX = 4, 4096  # to find a layout takes as long as some blocks: a kind has to come again
OF_SIZE_MAX = 4  # kinds of one size; a fifth is read by the library
COUNT_MIN, COUNT_MAX = 8, 4096  # samples: of fewer the bytes may stand elsewhere too, with more it is not worth it
PLAIN = frozenset("<" + kind for kind in ("f4", "f8", "i1", "i2", "i4", "i8", "u2", "u4", "u8")) | {"|i1", "|u1"}
_TIME, _QUALITY = np.dtype("<i8"), np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class Columns:
    """What differs between blocks of one layout; arrays of shape (n,) without nulls."""

    ingest: bytes
    time_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.generic]
    quality: npt.NDArray[np.uint32] | None


@dataclass(frozen=True, slots=True)
class Layout:
    """The bytes around the columns: before and behind the digits of the ingest time, behind times, values and
    qualities. `starts` are where the columns begin."""

    count: int
    values_type: np.dtype[np.generic]
    head: bytes
    behind_ingest: bytes
    behind_times: bytes
    behind_values: bytes
    behind_quality: bytes | None
    ingest_end: int
    starts: tuple[int, ...]

    def write(self, columns: Columns) -> bytes:
        """A block."""
        parts = [
            self.head, columns.ingest, self.behind_ingest, columns.time_ns.tobytes(), self.behind_times,
            columns.values.tobytes(), self.behind_values,
        ]  # fmt: skip
        if columns.quality is not None and self.behind_quality is not None:
            parts += [columns.quality.tobytes(), self.behind_quality]
        return b"".join(parts)

    def read(self, payload: bytes) -> Columns | None:
        """The columns without copy; None: it is another layout."""
        begun, end, starts, width = len(self.head), self.ingest_end, self.starts, self.values_type.itemsize
        ingest = payload[begun:end]
        if not (
            payload.startswith(self.head)
            and ingest.isdigit()
            and payload[end : starts[0]] == self.behind_ingest
            and payload[starts[0] + 8 * self.count : starts[1]] == self.behind_times
        ):
            return None
        over = starts[1] + width * self.count
        quality = None
        if self.behind_quality is None:
            if payload[over:] != self.behind_values:
                return None
        else:
            if payload[over : starts[2]] != self.behind_values:
                return None
            if payload[starts[2] + 4 * self.count :] != self.behind_quality:
                return None
            quality = np.frombuffer(payload, _QUALITY, self.count, starts[2])
        return Columns(
            ingest, np.frombuffer(payload, _TIME, self.count, starts[0]),
            np.frombuffer(payload, self.values_type, self.count, starts[1]), quality,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """What blocks of one layout have in common: samples, type of the values, and the metadata but for the ingest time,
    of which they share the number of digits."""

    count: int
    values_type: str
    has_quality: bool
    unit: str | None
    clock: str | None
    ingest_digits: int

    @property
    def is_plain(self) -> bool:
        """There may be a layout for it."""
        return self.values_type in PLAIN and COUNT_MIN <= self.count <= COUNT_MAX


Write = Callable[[Kind, Columns], bytes]
"""Writes a block by the Arrow library."""


class Layouts:
    """Those that were found: for writing by the kind of a block, for reading by its size."""

    def __init__(self, slowly: Write) -> None:
        self._slowly = slowly
        self._of_kind: dict[Kind, Layout | None] = {}
        self._sightings: dict[Kind, int] = {}
        self._of_size: dict[int, list[tuple[Kind, Layout]]] = {}

    def write(self, kind: Kind, columns: Columns) -> bytes:
        """A block."""
        layout = self._of_kind.get(kind)
        if layout is None:
            layout = self._find(kind)
        return self._slowly(kind, columns) if layout is None else layout.write(columns)

    def read(self, payload: bytes) -> tuple[Kind, Columns] | None:
        """A block whose kind was learnt; None: the Arrow library has to read it."""
        for kind, layout in self._of_size.get(len(payload), ()):
            columns = layout.read(payload)
            if columns is not None:
                return kind, columns
        return None

    def learn(self, payload: bytes, kind: Kind) -> None:
        """The Arrow library has read this block: the next one like it need not be."""
        known = self._of_size.get(len(payload), [])
        if len(known) >= OF_SIZE_MAX or len(self._of_size) >= LAYOUTS_MAX:
            return
        layout = self._find(kind)
        if layout is not None and layout.read(payload) is not None and all(kind != each for each, _ in known):
            self._of_size[len(payload)] = [*known, (kind, layout)]

    def _find(self, kind: Kind) -> Layout | None:
        if kind in self._of_kind or not kind.is_plain or len(self._of_kind) >= LAYOUTS_MAX:
            return self._of_kind.get(kind)
        if len(self._sightings) >= SIGHTINGS_MAX:
            self._sightings.clear()
        count = self._sightings[kind] = self._sightings.get(kind, 0) + 1
        if count < SIGHTINGS_MIN:
            return None
        del self._sightings[kind]
        self._of_kind[kind] = find_layout(kind, self._slowly)
        return self._of_kind[kind]


def find_layout(kind: Kind, slowly: Write) -> Layout | None:
    """From what the library writes; None when it puts more between the columns than their bytes."""
    one, other = (_example(kind, seed) for seed in (1, 2))
    payload = slowly(kind, one)
    quality = [] if one.quality is None else [one.quality.tobytes()]
    ends = [0]
    between: list[bytes] = []
    starts: list[int] = []
    for each in (one.ingest, one.time_ns.tobytes(), one.values.tobytes(), *quality):
        if payload.count(each) != 1 or (at := payload.find(each, ends[-1])) < 0:
            return None
        between.append(payload[ends[-1] : at])
        starts.append(at)
        ends.append(at + len(each))
    between.append(payload[ends[-1] :])
    found = Layout(
        kind.count, one.values.dtype, between[0], between[1], between[2], between[3], between[4] if quality else None,
        ends[1], tuple(starts[1:]),
    )  # fmt: skip
    return found if all(found.write(each) == slowly(kind, each) for each in (one, other)) else None


def _example(kind: Kind, seed: int) -> Columns:
    """Columns whose bytes stand nowhere else."""
    rng, width = np.random.default_rng(seed), np.dtype(kind.values_type).itemsize
    digits = rng.integers(1, 10, kind.ingest_digits)
    values = np.frombuffer(rng.integers(1, 100, kind.count * width, np.uint8).tobytes(), kind.values_type)
    quality = rng.integers(1, 2**32, kind.count, np.uint32) if kind.has_quality else None
    return Columns(
        "".join(map(str, digits)).encode(), rng.integers(1, 2**62, kind.count, np.int64), values, quality
    )  # fmt: skip
