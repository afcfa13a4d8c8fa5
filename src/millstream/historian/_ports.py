"""What the historian needs from outside; the composition root gives adapters. It knows no bus."""

from __future__ import annotations

import datetime
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from millstream.kernel import DecodeError

_CREATED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)\Z")


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream as the server describes it. `created_ns` tells one generation from the next: a stream that was
    deleted and made again starts at sequence 1 under the same name."""

    created_ns: int
    first_seq: int
    last_seq: int


def parse_created_ns(created: str) -> int:
    """UTC ns of a stream's ``created`` as the server writes it: RFC 3339 with up to nine digits. Raises DecodeError."""
    match = _CREATED.match(created)
    if match is None:
        raise DecodeError("not a time of a server", expected="RFC 3339", got=repr(created[:60]))
    zone = "+00:00" if match[3] == "Z" else match[3]
    seconds = datetime.datetime.fromisoformat(match[1] + zone).timestamp()
    return int(seconds) * 10**9 + int((match[2] or "0").ljust(9, "0"))


class StreamStates(Protocol):
    """Looks up streams."""

    async def state(self, stream: str) -> StreamState:
        """The stream now. Raises NotFoundError or Unreachable."""
        ...


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be decoded, with its raw bytes. (`source`, i.e. "stream:generation:seq") is unique,
    so that it can serve as message id."""

    payload: bytes
    reason: str
    code: str
    source: str
    subject: str
    content_type: str
    time_ns: int


DeadLetterSink = Callable[[DeadLetter], Awaitable[None]]
"""Stores one dead letter and returns once it is stored. Called at least once for each; raises PlantError to be
called again."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One part of an answer to a request."""

    payload: bytes
    headers: tuple[tuple[str, str], ...] = ()


RequestHandler = Callable[[bytes], AsyncIterator[Reply]]


class RequestServer(Protocol):
    """Answers requests on a subject, each with one or more replies."""

    def serve(self, subject: str, handler: RequestHandler) -> AbstractAsyncContextManager[None]:
        """Answer while the scope is open."""
        ...
