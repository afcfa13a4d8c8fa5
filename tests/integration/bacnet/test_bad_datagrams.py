"""Datagrams that are lost, and a device that answers nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest
from bacnet_kit import opened, tag, values
from cases.bacnet_peer import cov_device, node_device
from datagrams import ADDRESS, relayed

from millstream.kernel import Unreachable
from millstream.sdk import Write

_REPORT = bytes((0x10, 2))  # UnconfirmedCOVNotification, behind the link's and the network's heads
SEEDS_COUNT = 6  # most end with a lost answer, which takes a second to be sure of


class Mutation:
    """Changes each datagram in a way that the seed decides. Most keep their head, else nobody looks at the rest."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def __call__(self, datagram: bytes) -> bytes:
        """One datagram."""
        changed = bytearray(datagram)
        start = self._chance.choice((0, 4, 6, 9, 9, 9))
        kind = self._chance.randrange(5)
        if kind == 0:
            return bytes(changed)
        if kind == 1 and len(changed) > start + 1:
            del changed[self._chance.randrange(start, len(changed)) :]
        elif kind == 2:
            changed += self._chance.randbytes(self._chance.randrange(1, 40))
        else:
            for _ in range(self._chance.randrange(1, 4)):
                changed[self._chance.randrange(min(start, len(changed) - 1), len(changed))] = self._chance.randrange(
                    256
                )
        if start and len(changed) >= 4:
            changed[2:4] = len(changed).to_bytes(2, "big")
        return bytes(changed)


@pytest.mark.needs("node-bacnet")
async def test_a_lost_datagram_is_asked_for_again() -> None:
    count = 0

    def lose_every_third(datagram: bytes) -> bytes | None:
        nonlocal count
        count += 1
        return None if count % 3 == 0 else datagram

    async with node_device() as device, relayed((device.address, device.port)) as relay:
        relay.change = lose_every_third
        async with opened(device, host=ADDRESS, port=relay.port, timeout="300ms", retries=5) as session:
            for _ in range(4):
                assert await values(session, "ai:1", "bo:1", "av:77") == [
                    (21.5, "Good"), (True, "Good"), (None, "BadNodeIdUnknown"),
                ]  # fmt: skip
            assert (await session.write([Write(tag("av:7"), 1.0)]))[0].quality.is_good
    assert count > 6


@pytest.mark.needs("node-bacnet")
async def test_a_device_that_answers_nonsense_does_not_crash_or_stall_the_session() -> None:
    answered_count = 0
    async with node_device() as device, relayed((device.address, device.port)) as relay, asyncio.timeout(300):
        for seed in range(SEEDS_COUNT):
            relay.change = bytes
            with contextlib.suppress(Unreachable):
                async with opened(device, host=ADDRESS, port=relay.port, timeout="250ms", retries=0) as session:
                    relay.change = Mutation(seed)
                    found = await values(session, "ai:1", "ai:2", "characterstring-value:1", "av:77")
                    assert len(found) == 4
                    answered_count += 1
                    (result,) = await session.write([Write(tag("av:7"), 1.0)])
                    assert result.reason or result.quality.is_good
    assert answered_count


async def test_reports_that_are_nonsense_are_kept_apart_and_those_after_them_come() -> None:
    frames: list[tuple[bytes, str]] = []
    numbers: list[object] = []
    async with (
        asyncio.timeout(60),
        cov_device(0.02) as device,
        relayed((device.address, device.port)) as relay,
        opened(device, host=ADDRESS, port=relay.port, cov_confirmed=False) as session,
        aclosing(session.stream([tag("av:1", 3600.0)], None)) as stream,
    ):
        for _ in range(3):
            await anext(stream)
        mutate = Mutation(7)  # of the reports alone: a changed one may have the value read, and that answer is awaited
        relay.change = lambda datagram: mutate(datagram) if datagram[6:8] == _REPORT else datagram
        while len(frames) < 3:
            frames += (await anext(stream)).frames_bad
        relay.change = bytes
        while not _counts_up(numbers):  # what was changed may still be under way
            numbers += [sample.value for sample in (await anext(stream)).samples]
    assert all(reason and frame for frame, reason in frames)


def _counts_up(numbers: Sequence[object]) -> bool:
    """Whether the last five follow one another."""
    last = [number for number in numbers[-5:] if isinstance(number, float)]
    return len(last) == 5 and all(b - a == 1.0 for a, b in pairwise(last))
