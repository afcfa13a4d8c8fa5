"""What was asked of this edge and what became of it, over restarts: the reason why nothing is ever carried out twice.

Each change goes, in one atomic batch, with the events that tell of it into the integrity stream. An entry is forgotten
only once it is over and its time has expired, and what expires before the newest forgotten one is never taken again:
so also a clock that goes back brings no command back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from millstream.kernel import Clock, PlantError
from millstream.protocols.command import FINAL, Command, State
from millstream.sdk import Control, Message, Publisher

KNOWN_COUNT_MAX = 200  # entries; beyond it those that are over and expired are forgotten, the oldest first
ENTRIES_COUNT_MAX = 1000  # then nothing more is taken until some expire
RECORD_BYTES_MAX = 300_000  # beyond it what machines gave back is left out, the states never
DETAIL_BYTES_MAX = 1_024  # of what a machine gave back, kept with an entry

REASON_CHARS_MAX = 400


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command or write. `command` stands there until it is over; `read_back` and `answer` are what a machine gave
    back."""

    id: str
    state: State
    time_ns: int
    expires_ns: int
    code: str | None = None
    reason: str | None = None
    read_back: Any = None
    answer: Any = None
    command: Command | None = None


class _Record(msgspec.Struct):
    floor_ns: int
    entries: list[Entry]


class JournalFull(PlantError):
    """More is known than may be forgotten."""

    default_code = "MS-2009"


class Journal:
    """The entries of one edge."""

    def __init__(self, publisher: Publisher, state_subject: str, clock: Clock) -> None:
        self._publisher = publisher
        self._state_subject = state_subject
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._floor_ns = 0
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Read what was known. Raises Unreachable."""
        found = await self._publisher.last_control(self._state_subject)
        if found is None:
            return
        record = msgspec.json.decode(found, type=_Record)
        self._floor_ns = record.floor_ns
        for entry in record.entries:
            if entry.state == "running" and entry.command is None:
                entry = ended_without_a_word(entry)
            self._entries[entry.id] = entry

    def orphans(self) -> list[Entry]:
        """Commands that had begun when the edge, or what carries commands out, ended, and of which nothing was told."""
        return [e for e in self._entries.values() if e.state == "running" and e.command is not None]

    def find(self, id: str) -> Entry | None:
        """What is known under an id."""
        return self._entries.get(id)

    def waiting(self) -> list[Entry]:
        """What was taken and has not begun, in the order in which it came."""
        return [entry for entry in self._entries.values() if entry.state == "accepted"]

    @property
    def open_count(self) -> int:
        """Entries that are not over."""
        return sum(entry.state not in FINAL for entry in self._entries.values())

    def is_past(self, expires_ns: int) -> bool:
        """Whether something that expires then may have been here and been forgotten."""
        return expires_ns <= self._floor_ns

    async def put(self, entry: Entry, messages: Sequence[Message]) -> None:
        """Keep an entry and store the events of it; returns once both are on disk. One at a time, so that what is known
        never goes back. Raises JournalFull for a new entry, and what storing raises."""
        async with self._lock:
            if entry.id not in self._entries and len(self._entries) >= ENTRIES_COUNT_MAX and not self._forget():
                raise JournalFull("too much is known that has not expired", expected=f"at most {ENTRIES_COUNT_MAX}")
            self._entries[entry.id] = (
                entry if entry.state not in FINAL else msgspec.structs.replace(entry, command=None)
            )
            self._forget()
            stored = await self._publisher.submit(list(messages), Control(self._state_subject, self._record()))
        await asyncio.shield(stored)

    def _forget(self) -> bool:
        """Drop what may be dropped beyond the usual count; True when there is room now."""
        now_ns = self._clock.now_ns()
        for entry in list(self._entries.values()):
            if len(self._entries) <= KNOWN_COUNT_MAX:
                break
            if entry.state in FINAL and entry.expires_ns < now_ns:
                del self._entries[entry.id]
                self._floor_ns = max(self._floor_ns, entry.expires_ns)
        return len(self._entries) < ENTRIES_COUNT_MAX

    def _record(self) -> bytes:
        entries = [_brief(entry) for entry in self._entries.values()]
        payload = msgspec.json.encode(_Record(self._floor_ns, entries))
        if len(payload) <= RECORD_BYTES_MAX:
            return payload
        bare = [
            msgspec.structs.replace(e, read_back=None, answer=None, reason=(e.reason or "")[:80] or None)
            for e in entries
        ]
        return msgspec.json.encode(_Record(self._floor_ns, bare))


def _brief(entry: Entry) -> Entry:
    """As it is kept over a restart."""
    if entry.reason is not None and len(entry.reason) > REASON_CHARS_MAX:
        entry = msgspec.structs.replace(entry, reason=entry.reason[:REASON_CHARS_MAX])
    if len(msgspec.json.encode([entry.read_back, entry.answer])) <= DETAIL_BYTES_MAX:
        return entry
    return msgspec.structs.replace(entry, read_back=None, answer=None)


def ended_without_a_word(entry: Entry) -> Entry:
    """What is told of something that had begun, and of whose end nobody knows."""
    return msgspec.structs.replace(
        entry, state="unknown", code="MS-2008", reason="the edge ended before it knew the outcome"
    )
