"""What a historian tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from millstream.historian._storing import Store
from millstream.historian._upkeep import Upkeep
from millstream.protocols.ledger import OriginAccount

HistorianState: TypeAlias = Literal["running", "waiting", "held"]
"""running: every stream is read and stored. waiting: the server that holds the history has not answered since the
start, nothing is read. held: a stream cannot be stored just now."""
STATES: tuple[HistorianState, ...] = get_args(HistorianState)


@dataclass(frozen=True, slots=True)
class StreamStats:
    """One stream: what is stored and what is left to read (`lag_messages`, None while nats-server does not tell). Until
    the history's server has answered, nothing of the stream is known to be stored: position 0, all of it lags."""

    stream: str
    generation: int
    position: int
    lag_messages: int | None
    commits: int
    rollbacks: int
    error: str | None


@dataclass(frozen=True, slots=True)
class HistorianStats:
    """The historian now. Counts are since the history began, over restarts. `expired` samples came after retention had
    dropped their day; `oldest_ns` is from when samples are held, to the day where that is sealed. While the store does
    not tell, its numbers are those that it told last."""

    state: HistorianState
    rows: int
    tags: int
    messages: int
    samples: int
    events: int
    repeats: int
    others: int
    dead_letters: int
    dead_letters_waiting: int
    gap_messages: int
    expired: int
    disk_bytes: int
    sealed_days: int
    oldest_ns: int | None
    streams: tuple[StreamStats, ...]
    ledger: dict[str, OriginAccount]
    error: str | None


@dataclass(frozen=True, slots=True)
class Counted:
    """What a store told last."""

    counters: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    dead_letters_waiting: int = 0
    gap_messages: int = 0
    sealed_days: int = 0
    disk_bytes: int = 0
    oldest_ns: int | None = None


def count(store: Store, upkeep: Upkeep) -> Counted:
    """On the writer's thread. Raises HistoryStoreError."""
    return Counted(
        store.counters(), store.rows_count(), store.dead_letters_count(), store.gaps_count(), upkeep.sealed_count(),
        upkeep.bytes_on_disk(), store.oldest_ns(),
    )  # fmt: skip
