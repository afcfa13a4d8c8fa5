"""What a store of any engine does for the sinks and the service. Its transactions make the history exact: rows and the
stream's position are stored together or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from millstream.historian._last import LastValues
from millstream.historian._ports import DeadLetter
from millstream.historian._store import Commit, Position
from millstream.historian._tags import TagEntry


class Store(Protocol):
    """Blocking; called from one thread. Every method raises HistoryStoreError when the store cannot."""

    last: LastValues

    def open(self) -> None:
        """Open or make it. Raises FencedError when another process writes, ConfigError."""
        ...

    def close(self) -> None:
        """Close; a crash instead of it loses nothing."""
        ...

    def reopen(self) -> None:
        """Close and open again, after a fault."""
        ...

    def commit(self, batch: Commit) -> bool:
        """Store one batch; False when it is stored already. Raises FencedError when the stream stands elsewhere."""
        ...

    def position(self, stream: str, generation: int) -> Position:
        """How far a stream is stored."""
        ...

    def set_position(self, position: Position) -> None:
        """Put a stream back."""
        ...

    def tags(self) -> list[TagEntry]:
        """The whole dictionary."""
        ...

    def ledger(self, stream: str) -> dict[str, bytes]:
        """State of each origin that came through `stream`."""
        ...

    def counters(self) -> dict[str, int]:
        """Counters since the history began."""
        ...

    def gaps_count(self) -> int:
        """Messages that were gone from a stream before they were read."""
        ...

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """The oldest that wait for their stream."""
        ...

    def dead_letters_count(self) -> int:
        """How many wait."""
        ...

    def drop_dead_letters(self, sources: Sequence[str]) -> None:
        """These are in their stream now."""
        ...

    def save_last(self) -> None:
        """Checkpoint the last values, where that makes the next start faster."""
        ...

    def rows_count(self) -> int:
        """All stored samples."""
        ...

    def oldest_ns(self) -> int | None:
        """From when samples are held."""
        ...
