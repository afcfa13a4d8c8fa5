"""Work beside one another: in order, within its bound, and ended as a whole."""

from __future__ import annotations

import asyncio

import pytest

from millstream.kernel import beside_one_another


async def test_results_come_in_order_and_no_more_than_the_bound_run_at_once() -> None:
    running = most = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(10 - number):
            await asyncio.sleep(0)
        running -= 1
        return number * number

    assert await beside_one_another(work, range(10), at_once=3) == [n * n for n in range(10)]
    assert most == 3
    assert await beside_one_another(work, []) == []


async def test_the_first_failure_is_raised_and_the_others_are_ended() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        if number == 1:
            raise ValueError("the second")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    with pytest.raises(ValueError, match="the second"):
        await beside_one_another(work, [0, 1])
    assert ended == [0]


async def test_who_is_cancelled_leaves_nothing_running() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def work(number: int) -> None:
        begun.append(number)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    task = asyncio.ensure_future(beside_one_another(work, [0, 1]))
    async with asyncio.timeout(60):
        while len(begun) < 2:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [0, 1]
