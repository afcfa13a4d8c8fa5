"""The tag dictionary: names to small numbers."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from millstream.kernel import NotFoundError, suggest
from millstream.protocols.uns_subject import decode_subject

TAGS_COUNT_MAX = 5_000_000  # about 1 GB of names; a sender that invents a name a message must not fill the memory


@dataclass(slots=True)
class TagEntry:
    """One known tag. `description` is the newest ``_meta`` record as JSON text, or None."""

    tag_id: int
    path: str
    description: str | None = None


class TagDictionary:
    """Names of all tags ever stored, in memory. Not thread-safe: used by the event loop only.

    New and changed entries wait in `take_dirty` until a commit stores them, whichever stream brought them, so that
    no row can be stored before its name.
    """

    def __init__(self, entries: Iterable[TagEntry] = ()) -> None:
        self._by_path = {entry.path: entry for entry in entries}
        self._by_id = {entry.tag_id: entry for entry in self._by_path.values()}
        self._next = max(self._by_id, default=-1) + 1
        self._dirty: dict[int, TagEntry] = {}

    def __len__(self) -> int:
        return len(self._by_path)

    def intern(self, path: str) -> int:
        """The number of `path`, new if need be. Raises NotFoundError when the dictionary is full."""
        entry = self._by_path.get(path)
        if entry is None:
            if len(self._by_path) >= TAGS_COUNT_MAX:
                raise NotFoundError("tag dictionary is full", expected=f"at most {TAGS_COUNT_MAX} tags", got=path)
            entry = TagEntry(self._next, path)
            self._next += 1
            self._by_path[path] = self._by_id[entry.tag_id] = self._dirty[entry.tag_id] = entry
        return entry.tag_id

    def describe(self, subject: str, description: str) -> None:
        """Keep a ``_meta`` record for the tag of `subject`. Raises DecodeError."""
        entry = self._by_id[self.intern(str(decode_subject(subject).tag))]
        if entry.description != description:
            entry.description = description
            self._dirty[entry.tag_id] = entry

    def dirty(self) -> tuple[TagEntry, ...]:
        """Copies of entries that are not stored yet."""
        return tuple(TagEntry(e.tag_id, e.path, e.description) for e in self._dirty.values())

    def stored(self, entries: Sequence[TagEntry]) -> None:
        """These are stored now (and stay dirty if they changed meanwhile)."""
        for entry in entries:
            now = self._dirty.get(entry.tag_id)
            if now is not None and now.description == entry.description:
                del self._dirty[entry.tag_id]

    def path(self, tag_id: int) -> str:
        """The name of a number."""
        return self._by_id[tag_id].path

    def paths(self) -> list[str]:
        """All names by number: `paths()[tag_id]`."""
        return [self._by_id[i].path for i in range(self._next)]

    def find(self, pattern: str = "*") -> list[TagEntry]:
        """Entries whose name matches a shell pattern (``*`` also crosses ``/``), sorted by name. Cost: O(tags)."""
        if not any(c in pattern for c in "*?["):
            entry = self._by_path.get(pattern)
            return [entry] if entry is not None else []
        names = sorted(fnmatch.filter(self._by_path, pattern))
        return [self._by_path[name] for name in names]

    def resolve(self, patterns: Sequence[str]) -> list[int]:
        """The numbers of names and patterns, each once, in the order asked for. Raises NotFoundError for a plain
        name that is unknown; a pattern may match nothing."""
        found: dict[int, None] = {}
        for pattern in patterns:
            entries = self.find(pattern)
            if not entries and not any(c in pattern for c in "*?["):
                near = suggest(pattern, self._by_path) if len(self._by_path) < 20_000 else None
                raise NotFoundError(
                    "no such tag in the history",
                    got=pattern,
                    next_step=f"did you mean {near}?" if near else None,
                )
            found.update((entry.tag_id, None) for entry in entries)
        return list(found)
