"""Questions to one edge on a subject of its own, answered one after the other; what comes too fast is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from millstream.bus import RawConnection
from millstream.kernel import PlantError
from millstream.protocols.fleet_query import ANSWER_PREFIX
from millstream.protocols.nats_wire import WireMessage


@dataclass(frozen=True, slots=True)
class Answer:
    """One message of an answer."""

    subject: str
    payload: bytes
    headers: Sequence[tuple[str, str]] = ()


class Questions:
    """Those on ``millstream.node.<name>.<what>``. `waiting_max` are kept; what comes beyond is dropped, and its asker
    asks again."""

    def __init__(self, connection: RawConnection, name: str, what: str, waiting_max: int) -> None:
        self._connection = connection
        self._name = name
        self._subject = f"millstream.node.{name}.{what}"
        self._waiting: asyncio.Queue[WireMessage] = asyncio.Queue(waiting_max)

    def open(self) -> Callable[[], None]:
        """Listen, also after each reconnect, until the returned function is called."""
        sid = self._connection.subscribe(self._subject, self._take)
        return lambda: self._connection.unsubscribe(sid)

    def _take(self, messages: list[WireMessage]) -> None:
        for message in messages:
            if not self._waiting.full():
                self._waiting.put_nowait(message)

    def answer_subject(self, token: str) -> str:
        """Where this edge alone may answer the question that bears this token."""
        return f"{ANSWER_PREFIX}{self._name}.{token}"

    async def run(self, answer: Callable[[WireMessage], Awaitable[Sequence[Answer]]]) -> None:
        """Send what `answer` gives for each, the oldest first, for ever; what it raises is raised."""
        while True:
            self._send(await answer(await self._waiting.get()))

    def _send(self, answers: Sequence[Answer]) -> None:
        for one in answers:
            lines = "".join(f"{name}: {' '.join(value.split())}\r\n" for name, value in one.headers)
            try:
                self._connection.publish(one.subject, one.payload, header_lines=lines.encode())
            except PlantError:
                return  # the own server is away; the asker asks again
