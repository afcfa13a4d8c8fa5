"""Where a flow stands in a stream that others fill, such as a hub's: by origin, and by marks to read on from.

A hub's streams are not synced message by message. After a crash they lose their newest messages and take them again
from where these stand safely, under other sequences and in another order between the origins. So what was taken is
remembered by origin, where sequences are for good; and to know from where the hub's stream has to be read again, some
of its messages are remembered with the time they were stored: a message taken again has another time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from millstream.sdk import Received

MARKS_MAX = 12
_SOURCE = b"\r\nNats-Stream-Source: "


class Mark(NamedTuple):
    """A message of a hub's stream: sequence and time of storing (UTC, microseconds)."""

    seq: int
    time_us: int


def origin_of(stream: str, received: Received) -> tuple[str, Received]:
    """The stream that a message was stored in first (``name@identity``), and the message with its sequence there."""
    headers = received.headers
    at = headers.find(_SOURCE) if headers is not None else -1
    if headers is None or at < 0:
        return stream, received
    begin = at + len(_SOURCE)
    fields = headers[begin : headers.find(b"\r\n", begin)].decode("utf-8", "replace").split(" ")
    if len(fields) < 2 or not fields[1].isdigit():
        return stream, received
    name = fields[0].partition(":")[0]
    if len(fields) > 5:
        name = f"{name}@{fields[5].replace(':', '_').replace('/', '_')}"
    return name, received._replace(seq=int(fields[1]))


def is_from(origin: str, stream: str) -> bool:
    """True when `origin` is the stream itself."""
    return origin == stream or origin.startswith(f"{stream}@")


def with_mark(marks: Sequence[Mark], new: Mark) -> list[Mark]:
    """`marks` and the new one. Of many, those stay whose distance from the newest doubles."""
    if marks and new.seq <= marks[-1].seq:
        return list(marks)
    kept = [*marks, new]
    while len(kept) > MARKS_MAX:
        spans = [(kept[i + 1].seq - kept[i - 1].seq) / (new.seq - kept[i].seq) for i in range(1, len(kept) - 1)]
        del kept[1 + spans.index(min(spans))]
    return kept
