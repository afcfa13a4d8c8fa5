"""Which messages of an MQTT session are stored although the broker may not know it yet: exactly once over QoS 1. Pure.

A PUBACK can be lost with the link or the process. The broker then sends the message again, with DUP set, under its old
packet identifier and in the old order (MQTT 3.1.1 and 5.0, clauses 3.3.1.1, 4.4 and 4.6). So the position that is
stored with the data names the packet identifiers of what it covers, each with a digest of the message, until the broker
has shown that it took the PUBACK; a message that comes again and stands there is acknowledged and not counted twice.
Packets are taken in order, so the answer to a PINGREQ shows that every PUBACK sent before it was taken.

This needs packet identifiers that come back late. Brokers that count them up (mosquitto, EMQX) use all 65,535
first; one that takes the lowest free one could send another message with the same payload under the same identifier.
The window calls nothing a repeat, which is at least once, until it has seen an identifier higher than the number of
messages under way, which only the first kind gives, and never again after a jump.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

DIGEST_BYTES = 6  # beside DUP and the packet identifier
MID_MAX = 65_535
ENTRIES_MAX = 1_000  # with steps of at most STEP_MAX, no identifier comes back within so many messages
STEP_MAX = 32  # between identifiers of new messages; brokers also spend some elsewhere
_HEAD = struct.Struct(">BBQHH")  # version, kind of identifiers, running number, newest identifier (0: none), entries
_ENTRY = struct.Struct(f">H{DIGEST_BYTES}s")
_VERSION = 1


class Identifiers(IntEnum):
    """How a broker gives packet identifiers."""

    UNKNOWN = 0
    COUNT_UP = 1
    JUMP = 2


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """A position, decoded. `last_mid` is the packet identifier of the newest message, 0 before the first."""

    identifiers: Identifiers
    number: int
    last_mid: int
    entries: tuple[tuple[int, bytes], ...]

    def encode(self) -> bytes:
        """As it is stored."""
        head = _HEAD.pack(_VERSION, self.identifiers, self.number, self.last_mid, len(self.entries))
        return head + b"".join(_ENTRY.pack(mid, mark) for mid, mark in self.entries)

    @classmethod
    def decode(cls, raw: bytes) -> StoredPosition | None:
        """None when it is not one of ours."""
        if len(raw) < _HEAD.size:
            return None
        version, kind, number, last_mid, count = _HEAD.unpack_from(raw)
        if version != _VERSION or kind > max(Identifiers) or len(raw) != _HEAD.size + count * _ENTRY.size:
            return None
        entries = tuple((int(mid), bytes(mark)) for mid, mark in _ENTRY.iter_unpack(raw[_HEAD.size :]))
        return cls(Identifiers(kind), int(number), int(last_mid), entries)


def digest(topic: str | bytes, payload: bytes) -> bytes:
    """What tells two messages under one packet identifier apart."""
    name = topic.encode("utf-8", "surrogatepass") if isinstance(topic, str) else topic
    return blake2b(len(name).to_bytes(4, "big") + name + payload, digest_size=DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class _Received:
    mid: int
    mark: bytes
    is_stored: bool


class Window:
    """The messages under way in one session.

    `entries_max` is at least what the broker sends without a PUBACK; at most ENTRIES_MAX are kept.
    """

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries_max = min(entries_max, ENTRIES_MAX)
        self._stored: dict[int, bytes] = {}  # by an earlier session, in the broker's order; may be sent again
        self._received: OrderedDict[int, _Received] = OrderedDict()  # by running number
        self._last_mid = 0
        self._identifiers = Identifiers.UNKNOWN

    def resume(self, position: bytes | None, *, is_session_present: bool) -> None:
        """Begin behind `position`. A broker that has lost the session sends nothing again."""
        known = StoredPosition.decode(position) if position is not None and is_session_present else None
        if known is None:
            return
        self._identifiers = known.identifiers
        self._last_mid = known.last_mid
        for mid, mark in known.entries:
            self._stored.pop(mid, None)  # a later one under the same identifier stands where it was sent
            self._stored[mid] = mark

    def is_repeat(self, number: int, mid: int, mark: bytes, *, is_duplicate: bool) -> bool:
        """Note a received message under its running `number`; True when it is stored already."""
        if self._identifiers is Identifiers.UNKNOWN and mid > (self._entries_max if is_duplicate else len(self) + 1):
            self._identifiers = Identifiers.COUNT_UP
        if is_duplicate:
            is_known = self._identifiers is Identifiers.COUNT_UP and self._stored.get(mid) == mark
            if is_known:
                self._forget_until(mid)
            elif self._is_next(mid):  # it came before, but was not stored
                self._last_mid = mid
        else:
            is_known = False
            self._stored.clear()  # all that is sent again comes before anything new
            self._watch(mid)
        self._received[number] = _Received(mid, mark, is_known)
        while len(self._received) > self._entries_max:
            self._received.popitem(last=False)
        return is_known

    def _forget_until(self, mid: int) -> None:
        """What comes again comes in order: those before it were acknowledged."""
        for known in list(self._stored):
            del self._stored[known]
            if known == mid:
                return

    def _watch(self, mid: int) -> None:
        if self._last_mid and not self._is_next(mid):
            self._identifiers = Identifiers.JUMP
        self._last_mid = mid

    def _is_next(self, mid: int) -> bool:
        return 1 <= (mid - self._last_mid) % MID_MAX <= STEP_MAX

    def position(self, up_to: int) -> bytes:
        """What to store with the data up to running number `up_to`; O(entries)."""
        covered = (e for number, e in self._received.items() if number <= up_to or e.is_stored)
        entries = [*_pairs(covered), *self._stored.items()]
        return StoredPosition(self._identifiers, up_to, self._last_mid, tuple(entries)).encode()

    def confirm(self, up_to: int) -> None:
        """The broker has taken the PUBACK of everything up to here; none of that comes again."""
        while self._received and next(iter(self._received)) <= up_to:
            self._received.popitem(last=False)

    def __len__(self) -> int:
        return len(self._stored) + len(self._received)


def _pairs(received: Iterable[_Received]) -> list[tuple[int, bytes]]:
    return [(each.mid, each.mark) for each in received]
