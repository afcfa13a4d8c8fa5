"""Requests to join, answered a few at a time beside all else that a tenant's plant does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from millstream.kernel import PlantError
from millstream.protocols.nats_wire import WireMessage

JOINS_SUBJECT = "millstream.join.*.*"
JOINS_AT_ONCE_MAX = 16


@dataclass(slots=True)
class JoinCounters:
    """What was dropped, over all lives of a tenant's plant."""

    answers_lost: int = 0
    requests_left: int = 0


class Replies(Protocol):
    """Where answers go."""

    def publish(self, subject: str, payload: bytes) -> None:
        """Raises Unreachable while the link is down."""


class JoinDesk:
    """Answers with what `answer` gives for a subject and a payload. A box without an answer asks again, so a request
    too many and an answer on a lost link are dropped, each with a count; the plant behind goes on."""

    def __init__(
        self, replies: Replies, answer: Callable[[str, bytes], Awaitable[bytes]], group: asyncio.TaskGroup,
        counters: JoinCounters,
    ) -> None:  # fmt: skip
        self._replies = replies
        self._answer = answer
        self._group = group
        self._under_way = 0
        self._counters = counters

    def take(self, messages: list[WireMessage]) -> None:
        """From the connection."""
        for message in messages:
            reply = message[2]
            if not reply:
                continue
            if self._under_way >= JOINS_AT_ONCE_MAX:
                self._counters.requests_left += 1
                continue
            self._under_way += 1
            self._group.create_task(self._serve(bytes(message[1]).decode(), reply.decode(), message[4]))

    async def _serve(self, subject: str, reply: str, payload: bytes) -> None:
        try:
            self._replies.publish(reply, await self._answer(subject, payload))
        except PlantError:
            self._counters.answers_lost += 1
        finally:
            self._under_way -= 1
