"""Tells several tasks at once."""

from __future__ import annotations

import asyncio

from millstream.kernel import Signal


async def test_all_that_wait_are_woken_and_who_waits_afterwards_waits_for_the_next_time() -> None:
    signal, woken = Signal(), list[str]()

    async def wait(name: str) -> None:
        await signal.wait()
        woken.append(name)

    tasks = [asyncio.ensure_future(wait(name)) for name in "ab"]
    await asyncio.sleep(0)
    signal.tell()
    late = asyncio.ensure_future(wait("c"))
    await asyncio.gather(*tasks)
    await asyncio.sleep(0.02)
    assert (woken, late.done()) == (["a", "b"], False)
    signal.tell()
    await late


async def test_a_wait_ends_with_its_time() -> None:
    async with asyncio.timeout(5):
        await Signal().wait(0.01)
