"""Which messages of a connector begin a trace. Pure; time and seed are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from millstream.protocols.trace_context import TRACEPARENT, begin_trace
from millstream.sdk import Message


class Tracer:
    """The first message after each `every_ns` carries a `traceparent` of its own; 0: every message.

    The header is 70 bytes, often more than the sample. So a busy connector pays for one message a second, and a quiet
    one has them all. What has no header can be followed as well (`millstream trace`), but not into other systems.
    """

    def __init__(self, every_ns: int, seed: bytes) -> None:
        self._every_ns = every_ns
        self._seed = seed
        self._number = 0
        self._due_ns: int | None = None

    def stamp(self, messages: Sequence[Message], monotonic_ns: int, time_ns: int) -> Sequence[Message]:
        """The same messages in order, some with the header."""
        if not messages:
            return messages
        if not self._every_ns:
            return [self._traced(message, time_ns) for message in messages]
        if self._due_ns is not None and monotonic_ns < self._due_ns:
            return messages
        self._due_ns = monotonic_ns + self._every_ns
        return [self._traced(messages[0], time_ns), *messages[1:]]

    def _traced(self, message: Message, time_ns: int) -> Message:
        if any(name == TRACEPARENT for name, _ in message.headers):  # it came with one
            return message
        self._number += 1
        header = (TRACEPARENT, str(begin_trace(self._seed, self._number, time_ns)))
        return replace(message, headers=(*message.headers, header))
