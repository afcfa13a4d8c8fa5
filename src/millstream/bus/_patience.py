"""Asking again for a bounded time: what a node asks while it starts may meet a server that is not ready yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from millstream.kernel import Backoff, Unreachable

START_PATIENCE_S = 60.0  # a server that has just started, or is being started again, is waited for so long
T = TypeVar("T")


async def patiently(ask: Callable[[], Awaitable[T]], *, patience_s: float, where: str) -> T:
    """What `ask` returns; while it raises Unreachable it is asked again, for `patience_s`. Then raises Unreachable
    (MS-0608). With no patience its own error is raised."""
    loop, backoff = asyncio.get_running_loop(), Backoff(0.05, 1.0)
    deadline_s = loop.time() + patience_s
    while True:
        try:
            return await ask()
        except Unreachable as error:
            if not patience_s:
                raise
            if loop.time() >= deadline_s:
                raise Unreachable(
                    "the server is not ready", where=where, expected=f"an answer within {patience_s:g} s",
                    got=str(error), next_step="look at the server's log, then start the node again", code="MS-0608",
                ) from error  # fmt: skip
        await asyncio.sleep(backoff.next_s())
