"""How far a source has been stored: the control record beside its data."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from millstream.kernel import DecodeError
from millstream.sdk import Position

BEHIND_TAGS_MAX = 10_000
"""Tags of which a record tells how often each stands behind the position; of more it tells the sum only."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything up to `position` is stored, and `skip` samples after it (a batch may be larger than one unit)."""

    position: Position | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Behind:
    """What the samples behind a position are: the mapping under which they were given (its digest; "": not told), and
    how many of each tag."""

    mapping: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


NOTHING_BEHIND = Behind()


@dataclass(frozen=True, slots=True)
class Progress:
    """What a record says. `rewinds` is false for a source that cannot: then it tells its counters only. `turn` counts
    the changes of the class of durability, since each class has records of its own and the newest turn counts;
    `is_moved`: nothing was stored in this class since the last change."""

    mark: Mark = Mark()
    counters: Mapping[str, int] = field(default_factory=dict)
    rewinds: bool = True
    turn: int = 0
    is_moved: bool = False
    behind: Behind = NOTHING_BEHIND


class _Record(msgspec.Struct, omit_defaults=True):
    position: str | None
    skip: int = 0
    counters: dict[str, int] = {}
    rewinds: bool = True
    turn: int = 0
    moved: bool = False
    mapping: str = ""
    behind: dict[str, int] = {}


_decoder = msgspec.json.Decoder(_Record)
_encoder = msgspec.json.Encoder()


def encode_progress(progress: Progress) -> bytes:
    """The control record's payload."""
    mark, behind = progress.mark, progress.behind if progress.mark.skip else NOTHING_BEHIND
    position = base64.b64encode(mark.position).decode("ascii") if mark.position is not None else None
    counts = behind.counts if len(behind.counts) <= BEHIND_TAGS_MAX else {}
    return _encoder.encode(
        _Record(
            position, mark.skip, dict(progress.counters), progress.rewinds, progress.turn, progress.is_moved,
            behind.mapping, dict(counts),
        )
    )  # fmt: skip


def decode_progress(payload: bytes) -> Progress:
    """Inverse of `encode_progress`. Raises DecodeError."""
    try:
        record = _decoder.decode(payload)
        position = None if record.position is None else base64.b64decode(record.position, validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise DecodeError(f"not a position record: {error}", got=repr(payload[:80]), code="MS-0307") from error
    if record.skip < 0 or any(count < 0 for count in record.behind.values()):
        raise DecodeError("not a position record: a count is negative", got=repr(payload[:80]), code="MS-0307")
    return Progress(
        Mark(Position(position) if position is not None else None, record.skip), record.counters, record.rewinds,
        record.turn, record.moved, Behind(record.mapping, record.behind),
    )  # fmt: skip
