"""Tells several tasks at once that something has changed, so that none of them has to look time and again."""

from __future__ import annotations

import asyncio
import contextlib


class Signal:
    """Wakes all that wait. Who looks at what it is about, and waits without an await in between, misses nothing."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Wake those that wait now; who waits from here on waits for the next time."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return when it is told, or after `timeout_s`."""
        event = self._event
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await event.wait()
