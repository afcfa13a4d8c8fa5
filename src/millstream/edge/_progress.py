"""How far a source has been stored: the control record beside its data."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from millstream.kernel import DecodeError
from millstream.sdk import Position


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything up to `position` is stored, and `skip` samples after it (a batch may be larger than one unit)."""

    position: Position | None = None
    skip: int = 0


class _Record(msgspec.Struct, omit_defaults=True):
    position: str | None
    skip: int = 0
    counters: dict[str, int] = {}
    rewinds: bool = True


_decoder = msgspec.json.Decoder(_Record)
_encoder = msgspec.json.Encoder()


def encode_mark(mark: Mark, counters: Mapping[str, int], *, rewinds: bool = True) -> bytes:
    """The control record's payload. One that does not rewind says only that the source was read, and its counters."""
    position = base64.b64encode(mark.position).decode("ascii") if mark.position is not None else None
    return _encoder.encode(_Record(position, mark.skip, dict(counters), rewinds))


def decode_mark(payload: bytes | None) -> tuple[Mark, dict[str, int]]:
    """Inverse of `encode_mark`; None is the beginning. Raises DecodeError."""
    if payload is None:
        return Mark(), {}
    try:
        record = _decoder.decode(payload)
        position = None if record.position is None else base64.b64decode(record.position, validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise DecodeError(f"not a position record: {error}", got=repr(payload[:80]), code="MS-0307") from error
    if record.skip < 0:
        raise DecodeError("not a position record: skip is negative", got=repr(payload[:80]), code="MS-0307")
    return Mark(Position(position) if position is not None else None, record.skip), dict(record.counters)


def does_rewind(payload: bytes | None) -> bool:
    """Whether a record, which `decode_mark` could read, is that of a source that rewinds."""
    return payload is not None and _decoder.decode(payload).rewinds
