"""The tag dictionary: names to small numbers."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from millstream.kernel import NotFoundError, suggest
from millstream.protocols.uns_subject import decode_subject

TAGS_COUNT_MAX = 5_000_000  # about 1 GB of names; a sender that invents a name a message must not fill the memory


@dataclass(slots=True)
class TagEntry:
    """One known path of one kind of data. `description` is the newest ``_meta`` record as JSON text, or None.

    `is_corrected`: a sample with a revision came for it.
    """

    tag_id: int
    path: str
    description: str | None = None
    kind: str = "tag"
    is_corrected: bool = False

    @property
    def is_single(self) -> bool:
        """True when it has one value a time, the one stored last: results of flows, and what was ever corrected. A
        plain tag keeps all samples that its source gave, also those of equal time."""
        return self.is_corrected or self.kind != "tag"


class TagDictionary:
    """Names of all tags ever stored, in memory; the same path in two kinds is two entries. Not thread-safe: used by the
    event loop only.

    New and changed entries wait in `take_dirty` until a commit stores them, whichever stream brought them, so that
    no row can be stored before its name.
    """

    def __init__(self, entries: Iterable[TagEntry] = ()) -> None:
        self._by_id = {entry.tag_id: entry for entry in entries}
        self._by_path = {(entry.kind, entry.path): entry for entry in self._by_id.values()}
        self._next = max(self._by_id, default=-1) + 1
        self._dirty: dict[int, TagEntry] = {}

    def __len__(self) -> int:
        return len(self._by_path)

    def intern(self, path: str, kind: str = "tag") -> int:
        """The number of `path` in a kind, new if need be. Raises NotFoundError when the dictionary is full."""
        entry = self._by_path.get((kind, path))
        if entry is None:
            if len(self._by_path) >= TAGS_COUNT_MAX:
                raise NotFoundError("tag dictionary is full", expected=f"at most {TAGS_COUNT_MAX} tags", got=path)
            entry = TagEntry(self._next, path, kind=kind)
            self._next += 1
            self._by_path[(kind, path)] = self._by_id[entry.tag_id] = self._dirty[entry.tag_id] = entry
        return entry.tag_id

    def describe(self, subject: str, description: str) -> None:
        """Keep a ``_meta`` record for the tag of `subject`. Raises DecodeError."""
        entry = self._by_id[self.intern(str(decode_subject(subject).tag))]
        if entry.description != description:
            entry.description = description
            self._dirty[entry.tag_id] = entry

    def mark_corrected(self, tag_id: int) -> None:
        """A sample came that corrects an earlier one of the same time."""
        entry = self._by_id[tag_id]
        if not entry.is_corrected:
            entry.is_corrected = True
            self._dirty[tag_id] = entry

    def dirty(self) -> tuple[TagEntry, ...]:
        """Copies of entries that are not stored yet."""
        return tuple(replace(entry) for entry in self._dirty.values())

    def stored(self, entries: Sequence[TagEntry]) -> None:
        """These are stored now (and stay dirty if they changed meanwhile)."""
        for entry in entries:
            now = self._dirty.get(entry.tag_id)
            if now == entry:
                del self._dirty[entry.tag_id]

    def path(self, tag_id: int) -> str:
        """The name of a number."""
        return self._by_id[tag_id].path

    def entry(self, tag_id: int) -> TagEntry:
        """What stands under a number."""
        return self._by_id[tag_id]

    def find(self, pattern: str = "*", kind: str | None = "tag") -> list[TagEntry]:
        """Entries of a kind (None: of all) whose name matches a shell pattern (``*`` also crosses ``/``), sorted by
        name. Cost: O(tags)."""
        is_plain = not any(c in pattern for c in "*?[")
        if is_plain and kind is not None:
            entry = self._by_path.get((kind, pattern))
            return [entry] if entry is not None else []
        known = [e for e in self._by_id.values() if kind is None or e.kind == kind]
        if pattern != "*":  # a page of a large plant asks for all of them
            fitting = {e.path for e in known if e.path == pattern} if is_plain else _matching(known, pattern)
            known = [e for e in known if e.path in fitting]
        return sorted(known, key=lambda e: (e.path, e.kind))

    def resolve(self, patterns: Sequence[str], kind: str = "tag") -> list[int]:
        """The numbers of names and patterns of a kind, each once, in the order asked for. Raises NotFoundError for a
        plain name that is unknown; a pattern may match nothing."""
        found: dict[int, None] = {}
        for pattern in patterns:
            entries = self.find(pattern, kind)
            if not entries and not any(c in pattern for c in "*?["):
                raise self._unknown(pattern, kind)
            found.update((entry.tag_id, None) for entry in entries)
        return list(found)

    def _unknown(self, path: str, kind: str) -> NotFoundError:
        others = [e.kind for e in self.find(path, None)]
        near = None
        if not others and len(self._by_path) < 20_000:
            near = suggest(path, [e.path for e in self._by_id.values() if e.kind == kind])
        step = f"did you mean {near}?" if near else f"ask for kind {' or '.join(others)}" if others else None
        what = "no such tag in the history" if kind == "tag" else f"no {kind} of this path in the history"
        return NotFoundError(what, got=path, next_step=step)


def _matching(entries: Iterable[TagEntry], pattern: str) -> set[str]:
    return set(fnmatch.filter((e.path for e in entries), pattern))
