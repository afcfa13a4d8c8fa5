"""Ports of the data plane. ``millstream.bus`` has the adapters: our own protocol client, nats-py, and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One message to store. `content_type` None means JSON; `samples_count` goes into the ledger (0 for a message that
    carries no samples). `headers` are extra ``(name, value)`` pairs."""

    subject: str
    payload: bytes
    content_type: str | None = None
    samples_count: int = 1
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Control:
    """A state record written as the last message of the batch that it covers, fenced by the expected sequence of its
    subject. A later control of the same subject in the same batch replaces the earlier one."""

    subject: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer to one submission: it is stored (and, in the integrity class, synced)."""

    stream: str
    last_seq: int


@dataclass(frozen=True, slots=True)
class PublisherStats:
    """Counters since start, and the queue as it is now."""

    messages_stored: int
    samples_stored: int
    batches_stored: int
    resends: int
    queued_messages: int
    queued_bytes: int
    commit_ms_last: float
    is_full: bool
    is_connected: bool


class Publisher(Protocol):
    """Stores messages in one stream, in order of submission, each exactly once."""

    async def submit(
        self, messages: Sequence[Message], control: Control | None = None, *, patience_s: float = 0.0
    ) -> asyncio.Future[Stored]:
        """Queue one unit (at most 900 messages: it is never split). Waits while the queue is full (that is the
        back-pressure); the returned future resolves once the unit is stored. The future raises FencedError. With
        `patience_s` it may lie so long in the queue until another unit goes, or `flush` is called: then both cost one
        synced batch."""
        ...

    async def last_control(self, subject: str) -> bytes | None:
        """The payload of the newest stored control record of `subject`, or None."""
        ...

    async def after_control(self, subject: str) -> Sequence[Received]:
        """What the stream holds behind the newest control record of `subject`, at most the newest 100,000 messages;
        nothing when there is no such record. A writer that ended in the middle of its work finds there what it stored
        and no record covers."""
        ...

    async def flush(self) -> None:
        """Wait until everything submitted so far is stored."""
        ...

    def stats(self) -> PublisherStats:
        """Counters for status, metrics and the ledger."""
        ...


class Received(NamedTuple):
    """One stored message. `headers` is the raw header block (``NATS/1.0\\r\\n...``) or None."""

    subject: str
    payload: bytes
    headers: bytes | None
    seq: int
    stored_time_ns: int


class Reader(Protocol):
    """Reads a stream in order."""

    def read(
        self,
        stream: str,
        *,
        start_seq: int = 1,
        filter_subjects: Sequence[str] = (),
        batch_max: int = 1000,
        wait_s: float = 1.0,
    ) -> AsyncGenerator[Sequence[Received], None]:
        """Yield lists of messages in stream order from `start_seq` on, for ever; an empty list after `wait_s` without
        data. Survives reconnects without a gap or a repeat."""
        ...
