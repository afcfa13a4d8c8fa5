"""Answering those who ask to join: an answer that cannot be sent is dropped and counted, and nothing else ends."""

from __future__ import annotations

import asyncio

from millstream.hub._joins import JOINS_AT_ONCE_MAX, JoinCounters, JoinDesk
from millstream.kernel import Unreachable
from millstream.protocols.nats_wire import WireMessage


class _Link:
    """Keeps what is sent; raises while it is down."""

    def __init__(self) -> None:
        self.is_down = False
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, subject: str, payload: bytes) -> None:
        if self.is_down:
            raise Unreachable("not connected", where="test")
        self.sent.append((subject, payload))


def _asked(number: int) -> WireMessage:
    return (1, b"millstream.join.plant1.K%d" % number, b"_INBOX.%d" % number, None, b"%d" % number)


async def test_an_answer_on_a_lost_link_is_dropped_and_counted_and_the_next_one_is_sent() -> None:
    link, answered, counters = _Link(), asyncio.Event(), JoinCounters()

    async def answer(subject: str, payload: bytes) -> bytes:
        answered.set()
        return subject.encode() + b" " + payload

    async with asyncio.TaskGroup() as group:  # the plant's: an error in a task of it would end the plant
        desk = JoinDesk(link, answer, group, counters)
        link.is_down = True
        desk.take([_asked(1)])
        await answered.wait()
        while not counters.answers_lost:
            await asyncio.sleep(0)
        link.is_down = False
        desk.take([_asked(2)])
    assert link.sent == [("_INBOX.2", b"millstream.join.plant1.K2 2")]
    assert counters == JoinCounters(answers_lost=1)


async def test_more_requests_than_are_answered_at_once_are_left_to_ask_again() -> None:
    link, gate, counters = _Link(), asyncio.Event(), JoinCounters()

    async def answer(subject: str, payload: bytes) -> bytes:
        await gate.wait()
        return payload

    async with asyncio.TaskGroup() as group:
        desk = JoinDesk(link, answer, group, counters)
        desk.take([_asked(number) for number in range(JOINS_AT_ONCE_MAX + 3)])
        assert counters.requests_left == 3
        gate.set()
    assert len(link.sent) == JOINS_AT_ONCE_MAX
    desk.take([(1, b"millstream.join.a.b", b"", None, b"")])  # nobody waits for it
    assert counters.requests_left == 3
