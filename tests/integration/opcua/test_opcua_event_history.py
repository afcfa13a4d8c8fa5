"""Events of a time without a link, from a server that keeps them."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from opcua_kit import Process, connector_for

from millstream.model import Event
from millstream.sdk import Position, Session, Tag


def notifier(key: str, **options: Any) -> Tag:
    """A tag for the events of the Server object."""
    return Tag(key, "i=2253", 0.05, 0.1, {"mode": "events", **options})


ALL, GRAVE = notifier("all"), notifier("grave", severity_min=500)
TAGS = (ALL, GRAVE)


@pytest.fixture
def server() -> Iterator[Process]:
    process = Process([sys.executable, str(Path(__file__).with_name("event_server.py"))], {})
    process.start()
    yield process
    process.end()


def raise_events(server: Process, upto: int, number: signal.Signals = signal.SIGUSR1) -> None:
    """Have the server raise events, and wait until its history has so many in all."""
    server.send(number)
    deadline, said = time.monotonic() + 60, b""
    assert server.process.stdout is not None
    while json.dumps({"kept": upto}).encode() not in said:
        assert time.monotonic() < deadline, said
        if select.select([server.process.stdout], [], [], 0.2)[0]:
            said += os.read(server.process.stdout.fileno(), 65536)


class Listener:
    """What one connector hears over several links."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.position: Position | None = None

    def messages(self, tag: Tag) -> list[str]:
        return [str(event.data["Message"]) for event in self.events if event.tag == tag.key]

    async def listen(self, session: Session, server: Process, last: Sequence[int], upto: int | None = None) -> None:
        """Until the last events of both tags are these; with `upto`, the server raises one once the link hears."""
        is_raised = upto is None
        async with asyncio.timeout(60), aclosing(session.stream(TAGS, self.position)) as stream:  # type: ignore[attr-defined]
            async for batch in stream:
                self.events += batch.events
                self.position = batch.position or self.position
                if not is_raised and batch.samples and upto is not None:
                    is_raised = True
                    await asyncio.to_thread(raise_events, server, upto)
                heard = zip(TAGS, named(last), strict=False)
                if all(message in self.messages(tag) for tag, message in heard):
                    return


def named(numbers: Sequence[int]) -> list[str]:
    return [f"event {number}" for number in numbers]


@pytest.mark.parametrize("page", [1000, 3])
async def test_events_of_an_outage_are_read_back_once_each_and_before_the_live_ones(server: Process, page: int) -> None:
    connector, listener = connector_for(server.endpoint, backfill_page=page), Listener()
    raise_events(server, 1)  # before anybody listened: not ours
    async with connector.open() as session:
        await listener.listen(session, server, [2, 2], upto=2)
    raise_events(server, 22, signal.SIGUSR2)
    async with connector.open() as session:
        await listener.listen(session, server, [23, 22], upto=23)
    async with connector.open() as session:
        await listener.listen(session, server, [24, 24], upto=24)
    assert listener.messages(ALL) == named(range(2, 25))
    assert listener.messages(GRAVE) == named(range(2, 25, 2))
    assert len({(event.tag, event.id) for event in listener.events}) == len(listener.events)


async def test_an_outage_before_the_first_event_is_covered_too(server: Process) -> None:
    connector, listener = connector_for(server.endpoint), Listener()
    async with connector.open() as session, asyncio.timeout(60), aclosing(session.stream(TAGS, None)) as stream:
        batch = await anext(stream)
        assert {sample.tag: sample.value for sample in batch.samples} == {"all": True, "grave": True}
        listener.position = batch.position
    raise_events(server, 1)
    async with connector.open() as session:
        await listener.listen(session, server, [1])
    assert listener.messages(ALL) == named([1])


async def test_without_backfill_only_live_events_come_and_no_position_is_given(server: Process) -> None:
    connector, listener = connector_for(server.endpoint, backfill=False), Listener()
    async with connector.open() as session:
        await listener.listen(session, server, [1], upto=1)
    assert listener.position is None
    raise_events(server, 2)
    async with connector.open() as session:
        await listener.listen(session, server, [3], upto=3)
    assert listener.messages(ALL) == named([1, 3])
