"""Run a coroutine in a task of its own and wait for it.

On Python 3.11 and 3.12 a TaskGroup whose child fails leaves its parent task with a count of cancellations that nobody
asked for, after which `asyncio.timeout` and `Task.cancelling` mislead. A task of its own takes that count with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def run_apart(work: Coroutine[Any, Any, T], *, name: str | None = None) -> T:
    """The result of `work`. A cancellation is handed on, and waited for until `work` has ended."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await _end(task)
        raise
    return task.result()


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
    if not task.cancelled():
        task.exception()  # seen: the cancellation goes before it
