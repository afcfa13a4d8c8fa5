"""Ending tasks within a time: who does not let itself be ended must not keep the others from it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any


async def end_tasks(tasks: Collection[asyncio.Task[Any]], timeout_s: float) -> list[asyncio.Task[Any]]:
    """Cancel them, and wait until they have ended. Those that have not after `timeout_s`: they are left alone."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return []
    _, late = await asyncio.wait(tasks, timeout=timeout_s)
    return sorted(late, key=lambda task: task.get_name())
