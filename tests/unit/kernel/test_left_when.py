"""A scope that is left when an event is set."""

from __future__ import annotations

import asyncio

import pytest

from millstream.kernel import left_when


async def test_what_a_scope_waits_for_is_cancelled_once_the_event_is_set() -> None:
    event, cleaned = asyncio.Event(), []
    asyncio.get_running_loop().call_later(0.01, event.set)
    async with left_when(event):
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(1)
    assert cleaned == [1]
    await asyncio.sleep(0)  # nothing of the cancellation is left to this task


async def test_a_scope_that_ends_by_itself_hears_of_the_event_no_more() -> None:
    event = asyncio.Event()
    async with left_when(event):
        event.set()
    await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) == 1


async def test_what_goes_wrong_in_the_scope_is_raised_also_when_it_ran_out_of_time() -> None:
    for error in (ValueError, TimeoutError):
        with pytest.raises(error):
            async with left_when(asyncio.Event()):
                raise error
    with pytest.raises(TimeoutError):
        async with left_when(asyncio.Event()), asyncio.timeout(0.01):
            await asyncio.Event().wait()


async def test_a_task_that_is_cancelled_in_the_scope_is_cancelled() -> None:
    async def work() -> None:
        async with left_when(asyncio.Event()):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
