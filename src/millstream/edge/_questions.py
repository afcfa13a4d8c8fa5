"""Questions to one edge on a subject of its own, answered one after the other; what comes too fast is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from millstream.bus import RawConnection
from millstream.protocols.nats_wire import WireMessage


class Questions:
    """Keeps `waiting_max` questions; what comes beyond is dropped, and its asker asks again."""

    def __init__(self, connection: RawConnection, subject: str, waiting_max: int) -> None:
        self._connection = connection
        self._subject = subject
        self._waiting: asyncio.Queue[WireMessage] = asyncio.Queue(waiting_max)

    def open(self) -> Callable[[], None]:
        """Listen, also after each reconnect, until the returned function is called."""
        sid = self._connection.subscribe(self._subject, self._take)
        return lambda: self._connection.unsubscribe(sid)

    def _take(self, messages: list[WireMessage]) -> None:
        for message in messages:
            if not self._waiting.full():
                self._waiting.put_nowait(message)

    async def next(self) -> WireMessage:
        """The oldest that waits."""
        return await self._waiting.get()
