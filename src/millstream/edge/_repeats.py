"""Samples that a crash left in the stream without a record of them, and that a source which rewinds gives again.

A power loss in the middle of a commit can leave the front of an atomic batch in the stream without the position at its
end; a lazily synced stream can end anywhere between data and position. The source then rewinds to the older position.
What it gives again is known by its subject, source time, quality and value, and is left out as often as it is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from millstream.kernel import DecodeError
from millstream.model import Value
from millstream.protocols.ledger import is_ledger_subject
from millstream.protocols.uns_payload import ARROW_TYPE, decode_block, decode_sample, encode_value
from millstream.sdk import Received

OTHERS_PER_REPEAT = 4
OTHERS_MIN = 10_000  # samples of the source after which no more repeats come
_ARROW_MARK = ARROW_TYPE.encode()
_EVENT_MARK = b"\r\nce-specversion:"
_Key = tuple[int | None, int, bytes]


class Repeats:
    """What is expected to come again; false once all of it came, or so much else that nothing more will."""

    def __init__(self, stored: Sequence[Received] = ()) -> None:
        self._expected: dict[str, Counter[_Key]] = {}
        self._others_left = OTHERS_MIN
        for received in stored:
            if not is_ledger_subject(received.subject):
                keys = _keys(received)
                if not keys:
                    continue  # also an event's subject, at which no sample ever comes
                self._expected.setdefault(received.subject, Counter()).update(keys)
                self._others_left += OTHERS_PER_REPEAT * len(keys)

    def __bool__(self) -> bool:
        return bool(self._expected)

    def take(self, subject: str, value: Value | None, quality: int, source_ns: int | None) -> bool:
        """True when this sample is stored already; it is then struck out."""
        expected = self._expected.get(subject)
        key = _key(value, quality, source_ns) if expected else None
        if not expected or key is None or not expected[key]:
            self._others_left -= 1
            if self._others_left <= 0:
                self._expected.clear()
            return False
        expected[key] -= 1
        if not expected[key]:
            del expected[key]
            if not expected:
                del self._expected[subject]
        return True


def _key(value: Value | None, quality: int, source_ns: int | None) -> _Key | None:
    try:
        return (source_ns, int(quality), encode_value(value))
    except (TypeError, ValueError, OverflowError, RecursionError):  # it could not have been stored either
        return None


def _keys(received: Received) -> list[_Key]:
    """Of all samples in a stored message; none of what is no sample."""
    if received.headers and _EVENT_MARK in received.headers:
        return []
    try:
        if received.headers and _ARROW_MARK in received.headers:
            block = decode_block(received.payload)
            values = block.values if isinstance(block.values, list) else block.values.tolist()
            qualities = block.quality.tolist() if block.quality is not None else [0] * len(block)
            found = [_key(v, q, t) for v, q, t in zip(values, qualities, block.time_ns.tolist(), strict=True)]
        else:
            record = decode_sample(received.payload)
            found = [_key(record.value, record.quality, record.timestamp_ns)]
    except DecodeError:
        return []
    return [key for key in found if key is not None]
