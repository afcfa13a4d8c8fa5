"""What a partition commits at a time, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from millstream.flow._codec import Commit
from millstream.flow._ports import Rejected
from millstream.sdk import Message


@dataclass(slots=True)
class Counts:
    """Since the partition was opened here."""

    messages: int = 0
    events: int = 0
    outputs: int = 0
    late: int = 0
    timers: int = 0
    rejected: int = 0  # inputs in quarantine
    broken: int = 0  # outputs in quarantine, because they break a contract
    repeated_outputs: int = 0  # found in the stream after a torn commit, and not stored again


@dataclass(slots=True)
class Unit:
    """What belongs into one atomic batch."""

    messages: list[Message]
    commit: Commit
    rejected: list[Rejected]


@dataclass(slots=True)
class Pending:
    """What the next unit holds so far."""

    messages: list[Message] = field(default_factory=list)
    changed: dict[str, None] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    bytes: int = 0
