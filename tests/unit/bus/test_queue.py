"""The queue between submitters and a publisher: bounded, in order, nothing lost by a cancelled waiter."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from millstream.bus._queue import Unit, UnitQueue
from millstream.kernel import FencedError, PlantError
from millstream.sdk import Control, Message


def unit(name: str, count: int = 1) -> list[Message]:
    return [Message("a.b", name.encode())] * count


def names(units: list[Unit]) -> list[str]:
    return [u.messages[0].payload.decode() for u in units]


async def test_units_come_out_whole_and_in_order() -> None:
    queue = UnitQueue()
    for n in range(5):
        await queue.put(unit(str(n), 300), None)
    assert names(queue.take(messages_max=999, bytes_max=10**9)) == ["0", "1", "2"]
    assert names(queue.take(messages_max=999, bytes_max=10**9)) == ["3", "4"]
    assert (queue.messages, queue.bytes, len(queue)) == (0, 0, 0)


async def test_one_unit_is_given_even_when_it_exceeds_the_bytes() -> None:
    queue = UnitQueue()
    await queue.put(unit("x" * 5000), None)
    assert len(queue.take(messages_max=999, bytes_max=10)) == 1


async def test_distinct_controls_count_as_messages() -> None:
    queue = UnitQueue()
    for n in range(4):
        await queue.put(unit(str(n), 100), Control(f"c.{n}", b""))
    assert len(queue.take(messages_max=303, bytes_max=10**9)) == 3
    same = UnitQueue()
    for n in range(4):
        await same.put(unit(str(n), 100), Control("c.0", b""))
    assert len(same.take(messages_max=401, bytes_max=10**9)) == 4


async def test_a_full_queue_holds_submitters_back_in_the_order_of_their_calls() -> None:
    queue = UnitQueue(messages_max=2)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(queue.put(unit(str(n)), None)) for n in range(6)]
        await asyncio.sleep(0)
        assert [t.done() for t in tasks] == [True, True, False, False, False, False]
        tasks[3].cancel()
        out: list[str] = []
        async with asyncio.timeout(60):
            while len(out) < 5:
                out += names(queue.take(messages_max=1, bytes_max=10**9))
                await asyncio.sleep(0)
    assert out == ["0", "1", "2", "4", "5"]


async def test_the_bound_in_bytes_holds_too() -> None:
    queue = UnitQueue(bytes_max=2000)
    await queue.put(unit("x" * 1500), None)
    async with asyncio.TaskGroup() as group:
        second = group.create_task(queue.put(unit("y" * 1500), None))
        await asyncio.sleep(0)
        assert not second.done()
        queue.take(messages_max=10, bytes_max=10**9)
    assert len(queue) == 1


async def test_a_failed_queue_fails_what_waits_and_what_comes() -> None:
    queue = UnitQueue(messages_max=1)
    first = await queue.put(unit("1"), None)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(queue.put(unit("2"), None))
        await asyncio.sleep(0)
        queue.fail(FencedError("taken over"))
    for future in (first, waiting.result(), await queue.put(unit("3"), None)):
        with pytest.raises(FencedError):
            await future


@pytest.mark.parametrize(
    "messages",
    [[Message("a b", b"")], [Message("a", b"x" * 1_048_576)], [Message("a", b"")] * 901, [Message("a.*", b"")]],
)
async def test_what_can_never_be_stored_is_refused_at_the_door(messages: list[Message]) -> None:
    queue = UnitQueue()
    with pytest.raises(PlantError):
        await queue.put(messages, None)
    assert len(queue) == 0


async def test_an_empty_unit_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        await UnitQueue().put([], None)


async def test_a_patient_unit_waits_for_company_for_a_hurry_or_for_the_end_of_its_patience() -> None:
    queue = UnitQueue()

    async def is_awake() -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await queue.wait()
                return True
        return False

    await queue.put(unit("report"), None, 60.0)
    assert not await is_awake()
    await queue.put(unit("sample"), None)
    assert await is_awake()
    assert names(queue.take(messages_max=999, bytes_max=10**9)) == ["report", "sample"]
    assert not await is_awake()

    await queue.put(unit("report"), None, 60.0)
    queue.hurry()
    assert await is_awake()
    assert names(queue.take(messages_max=999, bytes_max=10**9)) == ["report"]

    await queue.put(unit("report"), None, 0.02)
    async with asyncio.timeout(30):
        await queue.wait()
    assert len(queue.take(messages_max=999, bytes_max=10**9)) == 1
    queue.hurry()  # nothing is there: whoever waits goes on to wait
    assert not await is_awake()
