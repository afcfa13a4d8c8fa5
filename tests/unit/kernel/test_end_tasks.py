"""Tasks that are ended, and those that do not let themselves be."""

from __future__ import annotations

import asyncio

from millstream.kernel import end_tasks


async def test_who_does_not_end_is_named_and_the_others_have_ended() -> None:
    may_end = asyncio.Event()

    async def stubborn() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    loop = asyncio.get_running_loop()
    left, willing = loop.create_task(stubborn(), name="left"), loop.create_task(asyncio.sleep(3600), name="willing")
    await asyncio.sleep(0)
    assert [task.get_name() for task in await end_tasks([willing, left], 0.05)] == ["left"]
    assert willing.cancelled()
    may_end.set()
    await left
    assert await end_tasks([], 0.05) == []
