"""Reading events back: pages, servers that cut them, what is told once, and what a position keeps of it."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import pytest
from asyncua import ua

from millstream.connectors.opcua import OpcUaConfig
from millstream.connectors.opcua._conditions import EVENTS_KNOWN_MAX, Conditions
from millstream.connectors.opcua._config import TagOptions
from millstream.connectors.opcua._event_history import SETTLE_S, EventFiller
from millstream.connectors.opcua._events import EventReader, field_names
from millstream.connectors.opcua._following import EVENT_IDS_MAX, Followed, Positions
from millstream.connectors.opcua._link import Link
from millstream.connectors.opcua._responses import HistoryPage
from millstream.model import Event, Value
from millstream.sdk import ConnectorTools, Tag
from millstream.sdk.testing import LoopClock, run_virtual

PAGE = 3
TAG = Tag("t", "i=2253", options={"mode": "events"})
OPTIONS = TagOptions(mode="events", severity_min=500)
NAMES = field_names(OPTIONS, with_conditions=False)


def fields_of(number: int, second: int, severity: int = 700) -> list[Value | None]:
    """The fields of one event."""
    return [bytes([number]), "", "i=2253", "s", f"2026-01-01T00:00:{second:02d}Z", f"event {number}", severity]


class History:
    """A link whose server gives these pages; remembers what was asked."""

    where = "opc.tcp://plc:4840"

    def __init__(self, *pages: HistoryPage) -> None:
        self.pages = deque(pages)
        self.asked: list[Any] = []
        self.responses = self

    async def request(self, request: Any) -> bytes:
        self.asked.append(request.Parameters)
        return b""

    def history(self, _: bytes) -> list[HistoryPage]:
        return [self.pages.popleft()]

    async def resolve(self, addresses: list[Any]) -> list[int]:
        return [0x80340000] * len(addresses)

    async def read_attributes(self, nodes: list[Any], _: Any) -> list[Any]:
        assert nodes == []
        return []


def page(*events: list[Value | None], status: int = 0, continuation: bytes = b"") -> HistoryPage:
    return HistoryPage(status, [], continuation, list(events))


def read_all(link: History) -> tuple[list[str], Followed]:
    """The messages of what is filled, over both readings."""
    clock = LoopClock()
    fake = cast("Link", link)
    config = OpcUaConfig.model_validate(
        {"endpoint": "opc.tcp://plc:4840", "security": {"policy": "none"}, "backfill_page": PAGE}
    )
    reader = EventReader(fake, Conditions(fake))
    filler = EventFiller(fake, reader, config, ConnectorTools(clock=clock))
    item = Followed(TAG, 0, node=ua.NodeId(2253), event_names=NAMES, has_event_history=True)
    told: list[str] = []

    async def run() -> None:
        filler.begin(item, OPTIONS, 1)
        while filler.is_filling or filler.due_at_ns is not None:
            if not await filler.step():
                await clock.sleep(SETTLE_S / 4)
            told.extend(str(event.data["Message"]) for event in await reader.read())

    run_virtual(run())
    return told, item


def test_a_server_that_cuts_without_a_continuation_point_is_asked_from_the_newest_on() -> None:
    link = History(
        page(fields_of(1, 1), fields_of(2, 2), fields_of(3, 3)),
        page(fields_of(3, 3), fields_of(4, 4)),
        page(fields_of(4, 4), fields_of(5, 4)),  # the second reading: one that the server had written late
    )
    assert read_all(link)[0] == [f"event {n}" for n in range(1, 6)]
    starts = [asked.HistoryReadDetails.StartTime.second for asked in link.asked]
    assert starts == [0, 3, 4]


def test_a_continuation_point_is_used_with_the_times_that_it_belongs_to() -> None:
    link = History(
        page(fields_of(1, 1), fields_of(2, 2), continuation=b"more"), page(fields_of(3, 3)), page(fields_of(3, 3))
    )
    assert read_all(link)[0] == ["event 1", "event 2", "event 3"]
    asked = [(a.NodesToRead[0].ContinuationPoint, a.HistoryReadDetails.StartTime.second) for a in link.asked]
    assert asked == [(None, 0), (b"more", 0), (None, 3)]


def test_a_full_page_of_one_instant_ends_the_reading() -> None:
    same = [fields_of(n, 1) for n in (1, 2, 3)]
    assert read_all(History(page(*same), page(*same), page(*same)))[0] == ["event 1", "event 2", "event 3"]


def test_what_a_server_gives_against_the_filter_is_left_out() -> None:
    assert read_all(History(page(fields_of(1, 1, severity=100), fields_of(2, 2)), page()))[0] == ["event 2"]


@pytest.mark.parametrize("status", [ua.StatusCodes.BadNoData, ua.StatusCodes.BadBoundNotFound])
def test_no_data_is_an_empty_history(status: int) -> None:
    told, item = read_all(History(page(status=status), page(fields_of(1, 1))))
    assert told == ["event 1"]
    assert item.has_event_history


def test_a_server_that_refuses_is_not_asked_again() -> None:
    link = History(page(status=ua.StatusCodes.BadHistoryOperationUnsupported))
    told, item = read_all(link)
    assert (told, item.has_event_history, len(link.asked)) == ([], False, 1)


def event(id: str, time_ns: int | None) -> Event:
    return Event("t", "opcua.x", id, "s", {}, time_ns)


def test_a_position_keeps_the_newest_event_and_what_was_told_at_that_instant() -> None:
    positions = Positions(["t", "other"])
    assert positions.encode() is None
    positions.begin_events("t", 5)
    positions.advance_events([event("a", 10), event("late", 7), event("b", 10), event("no time", None)])
    again = Positions(["t", "other", "more"])
    assert again.resume(positions.encode()) == {}
    assert again.newest_event("t") == (10, ["a", "b"])
    assert again.newest_event("other") is None
    again.advance_events([event(f"e{n}", 11) for n in range(100)])
    newest = again.newest_event("t")
    assert newest is not None
    assert list(newest[1]) == [f"e{n}" for n in range(100 - EVENT_IDS_MAX, 100)]


def test_conditions_are_remembered_up_to_a_bound() -> None:
    conditions = Conditions(cast("Link", History()))
    for n in range(EVENTS_KNOWN_MAX + 1):
        conditions.learn("t", n.to_bytes(4, "big"), "i=1")

    async def act(n: int) -> str:
        value: Value = {"acknowledge": n.to_bytes(4, "big").hex()}
        return (await conditions.act(TAG, value)).quality.label

    async def run() -> None:
        assert await act(0) == "BadOutOfRange"  # forgotten
        assert await act(1) != "BadOutOfRange"

    run_virtual(run())


def test_an_overflow_names_its_tag_and_is_no_event() -> None:
    reader = EventReader(cast("Link", History()), Conditions(cast("Link", History())))
    overflow: list[Value | None] = [b"\1", "i=3035", "i=2253", "s", "2026-01-01T00:00:00Z", "overflow", 500]
    reader.take("t", NAMES, overflow)
    reader.take("t", NAMES, fields_of(2, 2))

    async def run() -> list[Event]:
        return await reader.read()

    assert [event.data["Message"] for event in run_virtual(run())] == ["event 2"]
    assert (reader.take_overflows(), reader.take_overflows()) == (["t"], [])
