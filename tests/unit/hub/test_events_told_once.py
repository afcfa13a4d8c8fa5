"""What servers announce is stored once, also when the answer was lost with the server that led."""

from __future__ import annotations

import asyncio

import msgspec

from millstream.bus import RawConnection, ServerAlarm
from millstream.hub._server_events import REPEAT_S, WAITING_COUNT_MAX, HeardEvents, ServerEventTeller, shelf_at
from millstream.kernel import SystemClock, Unreachable
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.server_advisory import ServerEvent


class Stream(RawConnection):
    """A stream of events whose first answers are lost: of what it had stored, or of what it never saw."""

    def __init__(self, *fates: str) -> None:
        super().__init__("nats://nowhere:1")
        self.fates = list(fates)
        self.stored: list[bytes] = []
        self.tries_count = 0

    async def request(
        self, subject: str, payload: bytes = b"", *, header_lines: bytes = b"", timeout_s: float = 5.0
    ) -> WireMessage:
        if "DIRECT.GET" in subject:
            if not self.stored:
                return (1, b"", None, b"NATS/1.0 404 Message Not Found\r\n\r\n", b"")
            where = b"Nats-Subject: s\r\nNats-Sequence: 1\r\nNats-Time-Stamp: 2026-01-01T00:00:00Z\r\n"
            return (1, b"", None, b"NATS/1.0\r\n%b%b\r\n" % (where, self.stored[-1]), b"{}")
        self.tries_count += 1
        fate = self.fates.pop(0) if self.fates else "answers"
        if fate != "is lost":
            self.stored.append(header_lines)
        if fate != "answers":
            raise Unreachable("no answer in time", where=subject)
        return (1, b"", None, None, msgspec.json.encode({"stream": "H_LOCAL", "seq": len(self.stored)}))


class SilentLog:
    def info(self, event: str, **fields: object) -> None:
        """Drop."""

    warning = error = info


async def told(stream: Stream, count: int) -> list[bytes]:
    """The ids of what is stored once so many attempts were made and nothing waits any more."""
    alarms = [ServerAlarm("MS-0607", "the server is restarted", 0)]
    shelf = shelf_at(lambda: "acme")
    teller = ServerEventTeller(stream, shelf, alarms=lambda: alarms, clock=SystemClock(), log=SilentLog())
    task = asyncio.ensure_future(teller.run())
    try:
        async with asyncio.timeout(60):
            while not (stream.tries_count >= count and stream.stored and not teller.waiting_count):
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return [line for lines in stream.stored for line in lines.split(b"\r\n") if line.startswith(b"ce-id")]


async def test_an_event_whose_answer_was_lost_is_looked_for_before_it_is_stored_again() -> None:
    stream = Stream("is stored")
    assert len(await told(stream, 1)) == 1
    assert stream.tries_count == 1


async def test_an_event_that_was_lost_with_its_answer_is_stored_again() -> None:
    stream = Stream("is lost", "is lost", "is stored")
    assert len(await told(stream, 3)) == 1
    assert stream.tries_count == 3


class HandClock(SystemClock):
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1.0

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)


def test_who_is_turned_away_again_and_again_is_told_once_a_minute_with_a_count() -> None:
    clock, told = HandClock(), list[ServerEvent]()
    teller = ServerEventTeller(Stream(), shelf_at(lambda: None), clock=clock, log=SilentLog(), also=told.append)
    for number in range(100):
        teller.keep(ServerEvent("limit_reached", "alarm", "edge p2 was refused", f"a{number}"))
    teller.keep(ServerEvent("limit_reached", "alarm", "edge p3 was refused", "b"))
    teller.keep(ServerEvent("leaf_lost", "warning", "edge p1 is gone", "c1"))
    teller.keep(ServerEvent("leaf_lost", "warning", "edge p1 is gone", "c2"))
    assert [event.id for event in told] == ["a0", "b", "c1", "c2"]
    clock.now_s += REPEAT_S
    teller.keep(ServerEvent("limit_reached", "alarm", "edge p2 was refused", "a100"))
    assert (told[-1].id, told[-1].data) == ("a100", {"repeats_before": 99})


def test_a_member_forgets_what_the_one_that_leads_has_stored_and_keeps_a_bounded_rest() -> None:
    heard = HeardEvents()
    for number in range(WAITING_COUNT_MAX + 5):
        assert heard.add(ServerEvent("leaf_lost", "warning", "gone", f"e{number}"))
    assert (len(heard), heard.dropped_count) == (WAITING_COUNT_MAX, 5)
    heard.done("e5")
    first = heard.first(0)
    assert first is not None
    assert first.id == "e6"
    assert not heard.add(ServerEvent("leaf_lost", "warning", "gone", "e5"))  # it comes late, and is stored
