"""W3C Trace Context: the header ``traceparent``, ``00-<trace-id>-<parent-id>-<flags>`` (Recommendation of 23 November
2021, section 3.2). The trace id stays the same along the way; each station has a parent id (a span) of its own."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

TRACEPARENT = "traceparent"
SAMPLED = 0x01  # section 3.2.2.5.1
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?\Z")
_MARK = b"\r\ntraceparent: "
_LENGTH = 55


class TraceParent(NamedTuple):
    """One header, taken apart; ids in lower-case hex."""

    trace_id: str
    span_id: str
    flags: int = SAMPLED

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse_traceparent(text: str) -> TraceParent | None:
    """The header's parts; None for what section 3.2.2 calls invalid. Later versions are read as far as this one
    goes."""
    found = _FORM.match(text.strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and len(text.strip()) != _LENGTH):
        return None
    if not int(found[2], 16) or not int(found[3], 16):
        return None
    return TraceParent(found[2], found[3], int(found[4], 16))


def begin_trace(seed: bytes, number: int, time_ns: int) -> TraceParent:
    """The `number`-th trace of whoever drew `seed` by chance: unique, and cheap to make. Its id begins with 48 bits of
    milliseconds, UTC, as a UUID of version 7 does (RFC 9562, section 5.7), so that whoever looks for it knows from
    where on; the other 80 bits are by chance."""
    digest = hashlib.blake2b(number.to_bytes(8, "big"), key=seed, digest_size=18).hexdigest()
    return TraceParent(f"{time_ns // 1_000_000 & 0xFFFF_FFFF_FFFF:012x}{digest[:20]}", digest[20:])


def begun_ns(trace_id: str) -> int:
    """When a trace of `begin_trace` began, to the millisecond; of a trace of somebody else it means nothing."""
    return int(trace_id[:12], 16) * 1_000_000


def next_span(parent: str, station: str) -> str | None:
    """The header of what `station` makes of a message with the header `parent`: the same for the same two, since a flow
    that is run again after a crash has to say the same. None when `parent` is not valid."""
    found = parse_traceparent(parent)
    if found is None:
        return None
    span_id = hashlib.blake2b(f"{parent}|{station}".encode(), digest_size=8).hexdigest()
    return str(found._replace(span_id=span_id))


def traceparent_in(headers: bytes | None) -> str:
    """The header in a raw header block, empty when there is none."""
    at = headers.find(_MARK) if headers is not None else -1
    if headers is None or at < 0:
        return ""
    begin = at + len(_MARK)
    return headers[begin : headers.find(b"\r\n", begin)].decode("ascii", "replace")
