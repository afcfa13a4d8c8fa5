"""A scope that is left early when somebody says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def left_when(event: asyncio.Event) -> AsyncIterator[None]:
    """Once `event` is set, what the scope waits for is cancelled, and the scope is left without an error: look at the
    event behind it. What the scope's own task entered stays with that task."""
    loop = asyncio.get_running_loop()
    waiting = loop.create_task(event.wait())
    limit, is_open = asyncio.timeout(None), True

    def leave(_: asyncio.Task[bool]) -> None:
        if is_open:
            limit.reschedule(loop.time())

    waiting.add_done_callback(leave)
    try:
        async with limit:
            try:
                yield
            finally:
                is_open = False
    except TimeoutError:
        if not limit.expired():
            raise
    finally:
        waiting.cancel()
