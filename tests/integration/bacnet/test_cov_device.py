"""A device that reports changes. It runs the stack that is inside the connector too, so this is the weaker proof."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from bacnet_kit import Heard, opened, tag
from cases.bacnet_peer import cov_device, free_udp_port

from millstream.kernel import Unreachable
from millstream.sdk import Batch

NEVER_S = 3600.0


async def seen_until(stream: AsyncGenerator[Batch, None], count: int, key: str = "av:1") -> list[Any]:
    """The first `count` values of one tag."""
    found: list[Any] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            found += [sample.value for sample in (await anext(stream)).samples if sample.tag == key]
    return found


@pytest.mark.parametrize("is_confirmed", [True, False])
async def test_each_change_is_reported_once_and_nothing_is_polled(is_confirmed: bool) -> None:
    async with cov_device(0.05) as device, opened(device, cov_confirmed=is_confirmed) as session:
        tags = [tag("av:1", NEVER_S), tag("ai:1", NEVER_S), tag("bv:1", NEVER_S)]
        async with aclosing(session.stream(tags, None)) as stream:
            numbers = list(dict.fromkeys(await seen_until(stream, 12)))[1:]  # the first was read before subscribing
        assert numbers == [numbers[0] + n for n in range(len(numbers))]
        assert session.take_source_gaps() == 0


async def test_what_cannot_be_subscribed_is_polled_beside_what_can() -> None:
    heard = Heard()
    async with cov_device(0.05) as device, opened(device, heard) as session:
        tags = [tag("av:1", NEVER_S), tag("characterstring-value:1", 0.1), tag("device:999.object-name", 0.1)]
        async with aclosing(session.stream(tags, None)) as stream:
            assert await seen_until(stream, 3, "characterstring-value:1") == ["kiln"] * 3
            assert await seen_until(stream, 3, "device:999.object-name") == ["cov device"] * 3
            assert len(await seen_until(stream, 3)) >= 3
        assert heard.events == ["some values cannot be subscribed, polled instead"]


async def test_a_tag_may_be_polled_although_the_device_reports_changes() -> None:
    async with (
        cov_device(0.05) as device,
        opened(device) as session,
        aclosing(session.stream([tag("av:1", NEVER_S, cov=False)], None)) as stream,
    ):
        await anext(stream)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(stream)


async def test_subscriptions_are_renewed_before_they_run_out() -> None:
    async with cov_device(0.2) as device, opened(device, cov_lifetime="2s") as session:
        async with aclosing(session.stream([tag("av:1", NEVER_S)], None)) as stream:
            numbers = await seen_until(stream, 20)  # four seconds, twice the lifetime
        assert max(numbers) - min(numbers) >= 15


async def test_a_device_that_has_forgotten_its_subscriptions_is_subscribed_again() -> None:
    heard = Heard()
    async with (
        cov_device(0.05) as device,
        opened(device, heard, watchdog="200ms") as session,
        aclosing(session.stream([tag("av:1", NEVER_S)], None)) as stream,
    ):
        await seen_until(stream, 3)
        device.signal(signal.SIGUSR1)
        async with asyncio.timeout(60):
            while "device has forgotten subscriptions, renewed" not in heard.events:
                await anext(stream)
        # Each change again, and not only what one more look by the watchdog shows.
        numbers: list[float] = []
        async with asyncio.timeout(60):
            while not numbers or numbers[-3:] != [numbers[-1] - 2, numbers[-1] - 1, numbers[-1]]:
                numbers += await seen_until(stream, 1)


async def test_a_silent_death_of_the_device_is_seen_by_the_watchdog_and_a_new_session_goes_on() -> None:
    async with cov_device(0.05) as device:
        async with (
            opened(device, timeout="500ms", retries=1, watchdog="300ms") as session,
            aclosing(session.stream([tag("av:1", NEVER_S)], None)) as stream,
        ):
            await seen_until(stream, 3)
            await device.stop()
            with pytest.raises(Unreachable):
                await seen_until(stream, 10_000)
        await device.start()
        async with opened(device) as session, aclosing(session.stream([tag("av:1", NEVER_S)], None)) as stream:
            assert len(await seen_until(stream, 5)) >= 5


async def test_a_device_is_found_by_its_number() -> None:
    async with cov_device(0.05) as device:
        found = {"host": "", "bind": f"127.0.0.3/8:{free_udp_port('127.0.0.3')}", "device_id": 999}
        async with opened(device, **found) as session, aclosing(session.stream([tag("ai:1")], None)) as stream:
            assert await seen_until(stream, 1, "ai:1") == [20.5]
        with pytest.raises(Unreachable) as caught:
            async with opened(device, **{**found, "device_id": 998, "find_timeout": "300ms"}):
                pass
        assert caught.value.code == "MS-1402"
