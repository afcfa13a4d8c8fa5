"""The files of the folder and how far each has been read: a file is known by its inode and by what was read of it.

The mark of a file is a digest of its first bytes and of the last ones before the place up to which it was read. So a
file that was emptied and written anew, or whose inode was given to another one, is told from one that only grew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from millstream.connectors.files._config import FilesConfig
from millstream.connectors.files._packed import Opener
from millstream.connectors.files._seen import Seen
from millstream.kernel import DecodeError, Unreachable
from millstream.sdk import Position

HEAD_BYTES = 1024
TAIL_BYTES = 256
FORGET_LOOKS = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """How far a file has been read. `covered` is what `mark` covers: the bytes read, of Parquet the whole file.

    `mtime_ns` is the time of the file's last change when it was read, or seen to rest since; `offset` counts bytes (of
    Parquet rows), `line` the lines before it; of a Parquet file that is done it is 1.
    """

    name: str
    inode: int
    mtime_ns: int
    covered: int = 0
    mark: str = ""
    offset: int = 0
    line: int = 0


def list_files(config: FilesConfig) -> list[Seen]:
    """The matching files, in no order. Raises Unreachable."""
    found: list[Seen] = []
    where = str(config.folder)
    try:
        with os.scandir(config.folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not fnmatchcase(entry.name, config.pattern):
                    continue
                seen = _look(Path(entry.path))
                if seen is not None and config.format_of(entry.name) is not None:
                    found.append(seen)
                if len(found) > config.files_max:
                    raise Unreachable(
                        "folder holds too many files",
                        where=where,
                        expected=f"at most {config.files_max} that match {config.pattern}",
                        next_step="move away those that are read, or raise files_max",
                        code="MS-1803",
                    )
    except PermissionError as error:
        raise Unreachable(
            "folder may not be read", where=where, next_step="allow the node's user to list it", code="MS-1802"
        ) from error
    except OSError as error:
        raise Unreachable(f"folder cannot be read: {error.strerror or error}", where=where, code="MS-1801") from error
    return found


def _look(path: Path) -> Seen | None:
    try:
        status = path.stat()
    except OSError:  # gone since it was listed, or a link to nowhere
        return None
    if not os.path.isfile(path):
        return None
    return Seen(path, status.st_ino, status.st_size, status.st_mtime_ns)


def mark_of(stream: IO[bytes], covered: int) -> str | None:
    """The mark of the first `covered` bytes of an open file; None when it is shorter. Raises OSError."""
    if covered == 0:
        return ""
    stream.seek(0)
    head = stream.read(min(covered, HEAD_BYTES))
    stream.seek(max(0, covered - TAIL_BYTES))
    tail = stream.read(min(covered, TAIL_BYTES))
    if len(head) < min(covered, HEAD_BYTES) or len(tail) < min(covered, TAIL_BYTES):
        return None
    return hashlib.blake2b(head + b"\0" + tail, digest_size=8).hexdigest()


class Table:
    """All files of the folder by inode. `update` and `entry` block; all else is quick."""

    def __init__(
        self, config: FilesConfig, opener: Opener, entries: Sequence[Entry] = (), current: int | None = None
    ) -> None:
        self._config = config
        self._opener = opener
        self._entries = {entry.inode: entry for entry in entries}
        self._seen: dict[int, Seen] = {}
        self._missing: dict[int, int] = {}
        self._is_first_look = True
        self._current = self._resumed = current
        self.gaps_count = 0
        """Files that went, or were emptied, before all of them was read."""
        self.notes: list[tuple[str, str]] = []
        """What happened, and to which file, for the log."""

    # -- position -----------------------------------------------------------------------------------------------------

    def encode(self) -> Position:
        """As it is stored: everything up to here, in each file."""
        fields = {"at": self._current, "files": [list(astuple(entry)) for entry in self._entries.values()]}
        return Position(json.dumps(fields, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, config: FilesConfig, opener: Opener, raw: Position | None) -> Table:
        """Inverse of `encode`; an empty one without a position. Raises DecodeError."""
        if raw is None:
            return cls(config, opener)
        try:
            fields = json.loads(raw)
            entries = [
                Entry(str(name), int(inode), int(mtime_ns), int(covered), str(mark), int(offset), int(line))
                for name, inode, mtime_ns, covered, mark, offset, line in fields["files"]
            ]
            current = fields["at"]
            return cls(config, opener, entries, None if current is None else int(current))
        except (ValueError, KeyError, TypeError) as error:
            raise DecodeError(f"not a position in files: {error}", got=repr(bytes(raw)[:80]), code="MS-0307") from error

    # -- the folder ---------------------------------------------------------------------------------------------------

    def update(self) -> list[Seen]:
        """Look into the folder, find each file's entry; the files in the order in which they are read. The file that a
        stored position stands in comes first once, so that the samples behind it are the same again. Blocking. Raises
        Unreachable."""
        files = list_files(self._config)
        claimed: dict[int, Entry] = {}
        fresh: list[Seen] = []
        for seen in files:
            entry = self._entries.get(seen.inode)
            if entry is not None and self._is_same(seen, entry) and not (seen.is_packed and not entry.covered):
                mtime_ns = seen.mtime_ns if seen.size == entry.covered else entry.mtime_ns
                claimed[seen.inode] = replace(entry, name=seen.name, mtime_ns=mtime_ns)
            else:
                fresh.append(seen)
        there = {seen.inode for seen in files}
        for seen in fresh:
            claimed[seen.inode] = self._adopted(seen, there)
        self._forget(claimed, is_unpacking=any(seen.is_packed and not claimed[seen.inode].covered for seen in files))
        self._entries = claimed
        self._seen = {inode: seen for inode, seen in self._seen.items() if inode in claimed}
        self._seen.update((seen.inode, seen) for seen in files)
        if self._config.order == "name":
            files.sort(key=lambda seen: seen.name)
        else:
            files.sort(key=lambda seen: (seen.mtime_ns, seen.name))
        first, self._resumed = self._resumed, None
        self._is_first_look = False
        files.sort(key=lambda seen: seen.inode != first)
        return files

    def _is_same(self, seen: Seen, entry: Entry) -> bool:
        known = self._seen.get(seen.inode)
        if known is not None and (known.size, known.mtime_ns, known.name) == (seen.size, seen.mtime_ns, seen.name):
            return True
        if seen.name != entry.name and seen.mtime_ns != entry.mtime_ns and seen.size == entry.covered:
            return False  # another file that was given the inode; a file that is only renamed keeps its time
        return self._is_marked(seen, entry, unless_read=True)

    def _is_marked(self, seen: Seen, entry: Entry, *, unless_read: bool) -> bool:
        """Whether the file begins as the entry says; `unless_read` when it cannot be read now."""
        if self._config.format_of(seen.name) == "parquet" and entry.covered and seen.size != entry.covered:
            return False
        if entry.covered == 0 or (seen.size < entry.covered and not seen.is_packed):
            return entry.covered == 0
        try:
            with self._opener.opened(seen) as stream:
                return mark_of(stream, entry.covered) == entry.mark
        except OSError:
            return unless_read

    def _adopted(self, seen: Seen, there: set[int]) -> Entry:
        """The entry of a file whose inode says nothing. A folder that was restored or moved while nobody looked is
        known by names and content; where copies are possible, content is enough."""
        new = Entry(seen.name, seen.inode, seen.mtime_ns)
        known = [entry for entry in self._entries.values() if entry.covered and self._may_be(entry, seen, there)]
        for entry in sorted(known, key=lambda e: e.covered, reverse=True):
            if self._is_marked(seen, entry, unless_read=False):
                return replace(entry, name=seen.name, inode=seen.inode)
        return new

    def _may_be(self, entry: Entry, seen: Seen, there: set[int]) -> bool:
        if self._config.rotation == "copy" or seen.is_packed:
            return True
        return self._is_first_look and entry.name == seen.name and entry.inode not in there

    def _forget(self, claimed: dict[int, Entry], *, is_unpacking: bool) -> None:
        """Let go of files that are gone, and count those that were not read to their end. A file that is renamed while
        the folder is listed may be missing from the list, so one is gone only after some looks; while a packed file is
        still written (`is_unpacking`) none is, since it may be that one."""
        missing: dict[int, int] = {}
        for inode, entry in self._entries.items():
            now = claimed.get(inode)
            if now is not None and now.covered >= entry.covered:
                continue
            if now is not None and is_unpacking and entry.covered and len(missing) < self._config.files_max:
                claimed[-abs(inode)] = replace(entry, inode=-abs(inode))  # its inode is another's by now
                continue
            if now is not None:
                self.notes.append(("file was emptied or replaced", entry.name))
            elif (is_unpacking or self._missing.get(inode, 0) < FORGET_LOOKS) and len(missing) < self._config.files_max:
                missing[inode] = self._missing.get(inode, 0) + 1
                claimed[inode] = entry
                continue
            self._count_lost(self._seen.get(inode), entry, claimed)
        self._missing = missing

    def _count_lost(self, known: Seen | None, entry: Entry, claimed: dict[int, Entry]) -> None:
        is_copied = any(other.mark == entry.mark for other in claimed.values()) and entry.mark != ""
        if known is not None and self._is_unread(known, entry) and not is_copied:
            self.gaps_count += 1
            self.notes.append(("file went before all of it was read", entry.name))

    def _is_unread(self, seen: Seen, entry: Entry) -> bool:
        if self._config.format_of(seen.name) == "parquet" or seen.is_packed:
            return entry.line == 0
        return seen.size > entry.covered

    def entry(self, seen: Seen) -> Entry:
        """How far it has been read. Where copies are possible: as far as its copy has been; a packed file is one."""
        own = self._entries[seen.inode]
        if seen.is_packed or (self._config.rotation == "copy" and seen.size > own.covered):
            size = self._config.unpacked_bytes_max if seen.is_packed else seen.size
            further = [e for e in self._entries.values() if own.covered < e.covered <= size]
            for entry in sorted(further, key=lambda e: e.covered, reverse=True):
                if self._is_marked(seen, entry, unless_read=False):
                    return replace(entry, name=seen.name, inode=seen.inode, mtime_ns=own.mtime_ns)
        return own

    def put(self, entry: Entry) -> None:
        """This file has been read so far; it is the one that is being read."""
        self._entries[entry.inode] = entry
        self._current = entry.inode

    def take_notes(self) -> Iterator[tuple[str, str]]:
        """What is new for the log."""
        notes, self.notes = self.notes, []
        return iter(notes)
