"""The keys of one partition, encoded: in memory up to a bound, the rest in a scratch file.

The truth is the changelog in the stream. This is a cache that is built from it at each start, so the file needs no
sync and is thrown away. Entries are kept encoded, so a step that changes its state in place and then fails has changed
nothing.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic

import msgspec

from millstream.flow._model import S

HOT_KEYS_MAX = 1_000_000
HOT_BYTES_MAX = 256 << 20
ENTRY_BYTES = 250  # of memory that a key costs beside its text and its entry
EVICT_SHARE = 10  # a tenth moves out at a time
PAGE_KEYS = 1000
PIECE_MARK = "\0"  # between a key and the name of a piece of its state
FILE_CACHE_SHARE = 8  # of what the keys in memory may cost


class Entry(msgspec.Struct, Generic[S], array_like=True):
    """What is kept of one key: timers by name (event time, UTC ns), the newest event time, the state."""

    timers: dict[str, int]
    newest_ns: int
    state: S


class _Timers(msgspec.Struct, array_like=True):
    timers: dict[str, int]


class EntryCodec(Generic[S]):
    """Entries as MessagePack: [timers, newest time, state]."""

    def __init__(self, state_type: Any) -> None:
        entry_type: Any = Entry[state_type]
        self.encode: Callable[[Entry[S]], bytes] = msgspec.msgpack.Encoder().encode
        """Raises TypeError, ValueError or OverflowError for a state that cannot be encoded."""
        self.decode: Callable[[bytes], Entry[S]] = msgspec.msgpack.Decoder(entry_type).decode
        """Raises msgspec.ValidationError when the state type has changed without a new version of the flow."""
        self._timers = msgspec.msgpack.Decoder(_Timers).decode

    def timers(self, raw: bytes) -> dict[str, int]:
        """The timers only, which is quick."""
        return self._timers(raw).timers


class KeyStore:
    """All keys of a partition. `scratch` is the file for what does not fit (more than `hot_max` keys, or about
    `bytes_max`); made only when it is needed. Without one everything stays in memory."""

    def __init__(
        self, scratch: Path | None = None, *, hot_max: int = HOT_KEYS_MAX, bytes_max: int = HOT_BYTES_MAX
    ) -> None:
        self._hot: OrderedDict[str, bytes] = OrderedDict()
        self._hot_max = hot_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._scratch = scratch
        self._cold: sqlite3.Connection | None = None
        self._count = self._pieces = 0

    def __len__(self) -> int:
        return self._count

    @property
    def pieces_count(self) -> int:
        """How many of them are pieces of a key's state."""
        return self._pieces

    @property
    def hot_count(self) -> int:
        """Keys in memory."""
        return len(self._hot)

    @property
    def hot_bytes(self) -> int:
        """About what these cost."""
        return self._bytes

    def close(self) -> None:
        """Throw the scratch file away."""
        if self._cold is not None:
            self._cold.close()
            self._cold = None
            assert self._scratch is not None
            self._scratch.unlink(missing_ok=True)

    def get(self, key: str) -> bytes | None:
        """The entry of a key."""
        found = self._hot.get(key)
        return found if found is not None or self._cold is None else self._cold_get(key)

    def put(self, key: str, raw: bytes) -> None:
        """Keep an entry."""
        hot = self._hot
        old = hot.get(key)
        hot[key] = raw
        if old is not None:
            self._bytes += len(raw) - len(old)
            if self._scratch is not None:
                hot.move_to_end(key)
        else:
            self._bytes += len(raw) + len(key) + ENTRY_BYTES
            if self._cold is None or self._cold_get(key) is None:
                self._count += 1
                self._pieces += PIECE_MARK in key
        if self._scratch is not None and (len(hot) > self._hot_max or self._bytes > self._bytes_max):
            self._evict()

    def drop(self, key: str) -> None:
        """Forget a key."""
        old = self._hot.pop(key, None)
        known = old is not None
        if old is not None:
            self._bytes -= len(old) + len(key) + ENTRY_BYTES
        if self._cold is not None:
            known = bool(self._cold.execute("DELETE FROM entry WHERE key = ?", (key,)).rowcount) or known
        self._count -= known
        self._pieces -= known and PIECE_MARK in key

    def all_keys(self) -> Iterable[str]:
        """All keys there are at the beginning of the iteration; those in the file come page by page."""
        hot = list(self._hot)
        yield from hot
        if self._cold is None:
            return
        seen, last = set(hot), ""
        while self._cold is not None:
            page = self._cold.execute(
                "SELECT key FROM entry WHERE key > ? ORDER BY key LIMIT ?", (last, PAGE_KEYS)
            ).fetchall()
            if not page:
                return
            last = page[-1][0]
            yield from (key for (key,) in page if key not in seen)

    # -- the scratch file ---------------------------------------------------------------------------------------------

    def _cold_get(self, key: str) -> bytes | None:
        assert self._cold is not None
        row = self._cold.execute("SELECT data FROM entry WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def _evict(self) -> None:
        cold = self._cold or self._open()
        hot = self._hot
        keys_max, bytes_max = (bound - bound // EVICT_SHARE for bound in (self._hot_max, self._bytes_max))
        rows = []
        while len(hot) > 1 and (len(hot) > keys_max or self._bytes > bytes_max):
            key, raw = hot.popitem(last=False)
            self._bytes -= len(raw) + len(key) + ENTRY_BYTES
            rows.append((key, raw))
        cold.execute("BEGIN")
        cold.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?)", rows)
        cold.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        assert self._scratch is not None
        self._scratch.parent.mkdir(parents=True, exist_ok=True)
        self._scratch.unlink(missing_ok=True)
        self._cold = sqlite3.connect(self._scratch, isolation_level=None)
        self._cold.execute("PRAGMA journal_mode = OFF")
        self._cold.execute("PRAGMA synchronous = OFF")
        self._cold.execute(f"PRAGMA cache_size = -{max(1024, self._bytes_max // FILE_CACHE_SHARE >> 10)}")
        self._cold.execute("CREATE TABLE entry (key TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID")
        return self._cold
