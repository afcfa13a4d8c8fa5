"""Leaving a task group that a longer-lived object owns, without wrapping what its user raised."""

from __future__ import annotations

import asyncio


async def leave_group(group: asyncio.TaskGroup, error: BaseException | None) -> None:
    """Wait for the group's (cancelled) tasks. An error of the scope's body goes on as it is, not in an ExceptionGroup;
    a cancellation is handed to the group, because it may be the group's own."""
    if isinstance(error, asyncio.CancelledError):
        await group.__aexit__(type(error), error, error.__traceback__)
    else:
        await group.__aexit__(None, None, None)
