"""What stands behind a connector's last position already: so many samples, and under another mapping, which.

A source that rewinds gives a batch again from its last position. As long as the tags are the same, the samples that
are stored are the first ones, and a count is enough. A configuration that is taken back after a kill may ask for other
tags: the source then gives other samples in another order, and what counts is how many of each tag are stored. From
there on, until a batch is over and nothing is left of it, they are told apart by their tags (`MIXED`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from millstream.edge._progress import Behind, Mark
from millstream.model import Block, Sample
from millstream.sdk import Tag

MIXED = "mixed"
"""The mapping of samples that are stored behind a position and are not the first ones of what the source will give."""
OTHERS_PER_SAMPLE, OTHERS_MIN = 10, 10_000  # samples of the source after which what is still expected will not come
_MARK = "\n"  # between key and address of a configured tag; other names are those that a source brings itself


class Taken:
    """Of one connector. `tags` are those that its sessions are asked for."""

    def __init__(self, tags: Sequence[Tag]) -> None:
        self._names = {tag.key: f"{tag.key}{_MARK}{tag.address}" for tag in tags}
        self._mapping = hashlib.sha256("\0".join(self._names.values()).encode()).hexdigest()[:16]
        self._counts: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self._others_left = 0
        self._came: set[str] = set()  # of this session, names that the source brings itself
        self._is_mixed = False

    def behind(self) -> Behind:
        """For the record."""
        return Behind(MIXED if self._is_mixed else self._mapping, self._counts)

    def adopt(self, mark: Mark, behind: Behind) -> Mark:
        """Go on from a record of the run before; the mark in terms of the tags of now."""
        self._counts = Counter(behind.counts)
        is_told = mark.skip and self._counts.total() == mark.skip  # not by an older version, nor of too many tags
        if not is_told or behind.mapping == self._mapping:
            return mark
        self._is_mixed = True
        self._counts = Counter()
        for name, count in behind.counts.items():
            self._counts += self._known(name, count)
        return Mark(mark.position, self._counts.total())

    def _known(self, name: str, count: int) -> Counter[str]:
        """A name of the record in terms of the tags of now; nothing for a tag that reads something else now."""
        key, mark, _ = name.partition(_MARK)
        mine = self._names.get(key)
        if mine is not None:
            return Counter({mine: count} if not mark or mine == name else {})
        return Counter({key: count})

    def begin_session(self, mark: Mark) -> int:
        """The source begins at the mark's position again. How many samples are to be left out, the first ones; 0 when
        they are told apart by `is_stored`."""
        self._left, self._came = Counter(self._counts), set()
        self._others_left = OTHERS_MIN + OTHERS_PER_SAMPLE * self._left.total()
        return 0 if self._is_mixed else mark.skip

    # -- what comes ---------------------------------------------------------------------------------------------------

    @property
    def is_picking(self) -> bool:
        """Samples are to be told apart by their tags."""
        return self._is_mixed and bool(self._left)

    def without_stored(self, samples: Iterable[Sample]) -> list[Sample]:
        """Those that are not stored yet."""
        return [sample for sample in samples if not self._take(sample.tag, 1)]

    def stored_of(self, block: Block) -> int:
        """How many of a block, the first ones, are stored."""
        return self._take(block.tag, len(block))

    def _take(self, key: str, count: int) -> int:
        name = self._names.get(key, key)
        if name is key:
            self._came.add(key)
        taken = min(self._left[name], count)
        if taken:
            self._left[name] -= taken
        self._others_left -= count - taken
        if self._others_left < 0:
            self._left.clear()
        return taken

    def skipped(self, samples: Iterable[Sample]) -> None:
        """These were left out by their number."""
        self._left.subtract(self._names.get(sample.tag, sample.tag) for sample in samples)

    def skipped_of(self, block: Block, count: int) -> None:
        """So many of a block were left out by their number."""
        self._left[self._names.get(block.tag, block.tag)] -= count

    # -- what is fed --------------------------------------------------------------------------------------------------

    def fed(self, samples: Iterable[Sample]) -> None:
        """These are on their way to the store, behind the last position."""
        self._counts.update(self._names.get(sample.tag, sample.tag) for sample in samples)

    def fed_block(self, block: Block) -> None:
        """All of a block, as `fed`."""
        self._counts[self._names.get(block.tag, block.tag)] += len(block)

    def reached(self, skip: int) -> int:
        """A position was reached, behind which `skip` samples are to be left out still, by their number. How many are
        stored behind it."""
        if self._is_mixed:
            # What is not asked for any more does not come: nobody knows how much of it lies before this position.
            left = Counter({name: n for name, n in (+self._left).items() if _MARK in name or name in self._came})
            self._counts, self._left, self._is_mixed = left, Counter(left), bool(left)
            return left.total()
        self._counts = +self._left if skip else Counter()
        return skip
