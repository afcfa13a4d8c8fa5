"""The boot check: may this edge go on with the stream that it finds on its disk?

A hub forwards by cursor: the newest sequence that it has stored of each edge stream. When the edge's store was set back
(power loss on a disk that does not honour sync, a restored image, a replaced disk), new messages get sequence numbers
that the hub has already seen, and are never forwarded: no error, a lag of 0. So before anything is written, the
stream's last sequence is compared with the hub's cursor. When the hub cannot be asked, a note outside the stream's
store decides; in doubt a new generation of the stream is begun under a new name, which is always safe.

Why a new generation and not a purge to the cursor: the ledger's records and the positions of rewindable sources live in
the stream; a purge would take them along, and totals would seem to go backwards at the hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec

from millstream.bus import StreamInfo, StreamName, disk_error, is_retired, write_private

NOTE_FILE = "forward.json"


class BootDecision(Enum):
    """What to do with the newest generation found."""

    CREATE = "create"
    CONTINUE = "continue"
    NEW_GENERATION = "new_generation"


class StreamNote(msgspec.Struct, frozen=True):
    """What was last known of a stream: written while running and once more after a clean stop."""

    created: str
    last_seq: int
    cursor_seq: int = 0


class ForwardNote(msgspec.Struct, frozen=True):
    """The note beside the store: stream name -> what was known."""

    streams: dict[str, StreamNote] = {}
    is_clean: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """The decision and why, for the log."""

    decision: BootDecision
    reason: str
    generation: int


def newest_generation(names: list[str], edge: str, kind: str) -> int:
    """The highest generation among stream names; 0 when there is none."""
    parsed = (StreamName.parse(name) for name in names)
    return max((p.generation for p in parsed if p is not None and p.edge == edge and p.kind == kind), default=0)


def decide(
    found: StreamInfo | None, *, known_generation: int, hub_cursor: int | None, note: StreamNote | None, is_sure: bool
) -> Finding:
    """`found` is the newest generation on disk, `known_generation` the newest that disk, note or hub know of (0: none),
    `hub_cursor` the hub's cursor of `found` (0: the hub has nothing of it; None: the hub does not answer). `is_sure`:
    the stream is synced message by message, or the node was stopped cleanly."""
    if found is None:
        if known_generation == 0:
            return Finding(BootDecision.CREATE, "no stream yet", 1)
        return Finding(BootDecision.CREATE, "the stream that the hub or the note knows is gone", known_generation + 1)
    if is_retired(found.config):
        return Finding(BootDecision.NEW_GENERATION, "a new generation was being made", known_generation + 1)
    if hub_cursor is not None and hub_cursor > found.last_seq:
        reason = f"the store ends at {found.last_seq}, the hub has {hub_cursor}"
        return Finding(BootDecision.NEW_GENERATION, reason, known_generation + 1)
    if note is not None and note.created == found.created and found.last_seq < max(note.last_seq, note.cursor_seq):
        reason = f"the store ends at {found.last_seq}, the note has {max(note.last_seq, note.cursor_seq)}"
        if hub_cursor is not None:
            return Finding(BootDecision.CONTINUE, f"{reason}, but the hub has only {hub_cursor}", known_generation)
        return Finding(BootDecision.NEW_GENERATION, reason, known_generation + 1)
    if hub_cursor is not None:
        return Finding(BootDecision.CONTINUE, f"the hub has {hub_cursor} of {found.last_seq}", known_generation)
    if note is None or note.created != found.created:
        return Finding(BootDecision.NEW_GENERATION, "no note of this stream and no hub to ask", known_generation + 1)
    if not is_sure:
        return Finding(BootDecision.NEW_GENERATION, "no clean stop, lazily synced, no hub to ask", known_generation + 1)
    return Finding(BootDecision.CONTINUE, f"the store ends at {found.last_seq}, as noted", known_generation)


def load_note(data_dir: Path) -> ForwardNote:
    """The note; empty when there is none or it cannot be read (which is then in doubt, so safe)."""
    try:
        return msgspec.json.decode((data_dir / NOTE_FILE).read_bytes(), type=ForwardNote)
    except (FileNotFoundError, msgspec.DecodeError):
        return ForwardNote()


def save_note(data_dir: Path, note: ForwardNote) -> None:
    """Write and sync the note. Raises PlantError, on a full disk for instance."""
    try:
        write_private(data_dir / NOTE_FILE, msgspec.json.encode(note).decode())
    except OSError as error:
        raise disk_error(error, data_dir) from error
