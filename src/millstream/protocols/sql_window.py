"""Where a poll by a monotone key stands: the last key, and which rows at it (or shortly below it) are taken. Pure.

A row is asked for again as long as its key is within the window: those with the last key itself, since rows that share
a key may come later, and with an overlap those shortly below it, since a database shows rows in the order of their
commits and not of their keys. What was taken is known by digests, so each row counts once.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

from millstream.kernel import DecodeError

SEEN_MAX = 2_000  # rows of the window that are remembered in each position, 12 bytes a row
DIGEST_BYTES = 8

Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far below the last key rows may still come: a span for times, steps for numbers."""

    span: timedelta = timedelta()
    steps: int = 0

    def below(self, key: Key) -> Key:
        """The lowest key that is asked for again. Raises DecodeError when the key is neither number nor time."""
        if not self.span and not self.steps:
            return key
        last = key[0]
        if isinstance(last, datetime | date) and self.span:
            return (last - self.span,)
        if isinstance(last, int | float | Decimal) and self.steps:
            return (last - self.steps,)
        raise DecodeError(
            "overlap does not fit the key",
            expected="overlap with a key that is a time, overlap_steps with one that is a number",
            got=f"{type(last).__name__} {last!r:.40}",
            code="MS-1704",
        )

    def __bool__(self) -> bool:
        return bool(self.span or self.steps)


def digest_of(cells: Sequence[object]) -> str:
    """What a row is known by."""
    raw = hashlib.blake2b(repr([_plain(cell) for cell in cells]).encode("utf-8", "replace"), digest_size=DIGEST_BYTES)
    return base64.b85encode(raw.digest()).decode("ascii")


def _plain(cell: object) -> object:
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        return cell.astimezone(UTC).isoformat()  # the zone that a session shows may change
    return bytes(cell) if isinstance(cell, bytearray | memoryview) else cell


@dataclass(slots=True)
class Window:
    """The state of one poll. `seen` holds digests with their keys, in order, of the rows within the window."""

    overlap: Overlap = field(default_factory=Overlap)
    last: Key | None = None
    seen: list[tuple[Key, str]] = field(default_factory=list)

    @property
    def low(self) -> Key | None:
        """Rows from this key on are asked for; None: all. Raises DecodeError."""
        return None if self.last is None else self.overlap.below(self.last)

    def fresh(self, rows: Sequence[tuple[Key, str]]) -> list[int]:
        """Indexes of the rows that were not taken, in their order. Rows that are alike in all count as often as they
        stand there."""
        taken: dict[str, int] = {}
        for _, digest in self.seen:
            taken[digest] = taken.get(digest, 0) + 1
        found: list[int] = []
        for index, (_, digest) in enumerate(rows):
            if taken.get(digest, 0):
                taken[digest] -= 1
            else:
                found.append(index)
        return found

    def take(self, key: Key, digest: str) -> None:
        """This row is taken; rows come in the order of their keys. Raises DecodeError when too many are remembered."""
        is_further = self.last is None or not self.overlap or _is_above(key, self.last)
        if is_further and (self.last is None or not _is_alike(key, self.last)):
            self.last = key
            if not self.overlap:
                self.seen = []
        self.seen.append((key, digest))
        if len(self.seen) > SEEN_MAX:
            self._prune()
        if len(self.seen) > SEEN_MAX:
            raise DecodeError(
                "too many rows share a key, or lie within the overlap",
                expected=f"at most {SEEN_MAX}",
                got=f"key {key!r:.80}",
                code="MS-1705",
            )

    def _prune(self) -> None:
        low = self.low
        if self.overlap and low is not None:
            self.seen = [(key, digest) for key, digest in self.seen if not _is_above(low, key)]

    def encode(self) -> bytes:
        """As it is stored."""
        self._prune()
        keys: list[object] = []
        seen: list[list[object]] = []
        for key, digest in self.seen:
            written = [_write(part) for part in key]
            if not keys or keys[-1] != written:
                keys.append(written)
            seen.append([len(keys) - 1, digest])
        last = None if self.last is None else [_write(part) for part in self.last]
        return json.dumps({"last": last, "keys": keys, "seen": seen}, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, raw: bytes | None, overlap: Overlap) -> Window:
        """Inverse of `encode`; a new one without a position. Raises DecodeError."""
        if raw is None:
            return cls(overlap)
        try:
            fields = json.loads(raw)
            keys = [tuple(_read(part) for part in key) for key in fields["keys"]]
            last = fields["last"]
            seen = [(keys[int(index)], str(digest)) for index, digest in fields["seen"]]
            return cls(overlap, None if last is None else tuple(_read(part) for part in last), seen)
        except (ValueError, KeyError, TypeError, IndexError, ArithmeticError) as error:
            raise DecodeError(f"not a position in a table: {error}", got=repr(raw[:80]), code="MS-0307") from error


def _is_above(one: Key, other: Key) -> bool:
    """Only asked of numbers and times."""
    return bool(one[0] > other[0])  # type: ignore[operator]


def _is_alike(one: Key, other: Key) -> bool:
    """Texts in upper and lower case may be one key to a database."""
    return [_folded(part) for part in one] == [_folded(part) for part in other]


def _folded(part: object) -> object:
    return part.casefold().rstrip(" ") if isinstance(part, str) else part


def _write(part: object) -> list[str | int | float]:
    if isinstance(part, bool) or not isinstance(part, int | float | str | datetime | date | Decimal | UUID | bytes):
        raise DecodeError(
            "key column has a type that cannot be a key",
            expected="a number, a time, a text or a UUID",
            got=type(part).__name__,
            code="MS-1704",
        )
    if isinstance(part, bytes):
        return ["bytes", part.hex()]
    if isinstance(part, datetime | date):
        return ["datetime" if isinstance(part, datetime) else "date", part.isoformat()]
    if isinstance(part, Decimal | UUID):
        return ["Decimal" if isinstance(part, Decimal) else "UUID", str(part)]
    return ["int" if isinstance(part, int) else "float" if isinstance(part, float) else "str", part]


def _read(part: Sequence[object]) -> object:
    kind, text = part
    readers: Mapping[str, object] = {
        "datetime": datetime.fromisoformat, "date": date.fromisoformat, "Decimal": Decimal, "UUID": UUID,
        "bytes": bytes.fromhex, "int": int, "float": float, "str": str,
    }  # fmt: skip
    reader = readers[str(kind)]
    return reader(text)  # type: ignore[operator]
