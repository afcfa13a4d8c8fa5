"""Events, and alarms that are told again after each connection, from a stack that this project did not write."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from opcua_kit import Process, StartPlant, connector_for

from millstream.model import Event, Sample, Value
from millstream.sdk import Batch, Tag, Write, WriteResult

PRESSURE = Tag("pressure", "nsu=urn:counter;s=pressure", 0.05, 0.1)


def events_of(key: str, **options: Any) -> Tag:
    """A tag for events of the Server object."""
    return Tag(key, "i=2253", 0.05, 0.1, {"mode": "events", **options})


async def until(
    stream: AsyncGenerator[Batch, None], is_enough: Callable[[Sequence[Event], Sequence[Sample]], bool]
) -> tuple[list[Event], list[Sample]]:
    """What came until it is enough."""
    events: list[Event] = []
    samples: list[Sample] = []
    async with asyncio.timeout(60):
        async for batch in stream:
            events += batch.events
            samples += batch.samples
            if is_enough(events, samples):
                break
    return events, samples


def is_active(event: Event) -> bool:
    """Of an alarm."""
    return event.data["ActiveState/Id"] is True


@pytest.mark.needs("node-opcua")
async def test_alarms_and_events_come_with_their_fields_and_what_still_holds_is_told_again(
    start_node_server: StartPlant,
) -> None:
    server = start_node_server("plain", "counter")
    connector = connector_for(server.endpoint)
    tags = [PRESSURE, events_of("all"), events_of("alarms", event_type="i=2782"), events_of("grave", severity_min=900)]
    async with connector.open() as session, aclosing(session.stream(tags, None)) as stream:
        events, samples = await until(stream, lambda _, s: len(s) >= 4)
        assert {s.tag: s.value for s in samples} == {"pressure": 1.0, "all": True, "alarms": True, "grave": True}
        assert events == []
        await session.write([Write(PRESSURE, 15.0)])
        events, _ = await until(stream, lambda e, _: len(e) >= 2)
        assert {event.tag for event in events} == {"all", "alarms"}
        first = events[0]
        assert (first.kind, first.type, first.source) == ("alarm", "opcua.ExclusiveLimitAlarmType", server.endpoint)
        assert first.time_ns is not None
        assert first.data["SourceNode"] == PRESSURE.address
        assert first.data["LimitState/CurrentState"] == "High"
        assert is_active(first)
        assert "IsRefresh" not in first.data

        server.send(signal.SIGUSR1)
        (event, *more), _ = await until(stream, lambda e, _: len(e) >= 1)
        assert (event.tag, event.kind, event.type) == ("all", "event", "opcua.SystemEventType")
        assert (event.data["SourceName"], event.data["Message"]) == ("operator", "door opened")
        assert event.data["Severity"] == 300
        assert event.id != first.id
        assert not more

    async with connector.open() as session, aclosing(session.stream(tags, None)) as stream:
        refreshed, _ = await until(stream, lambda e, _: len({event.tag for event in e}) == 2)
        assert all(is_active(event) for event in refreshed)
        assert all(event.data["IsRefresh"] is True for event in refreshed if event.tag == "all")
        assert first.data["ConditionId"] in {event.data["ConditionId"] for event in refreshed}
        await session.write([Write(PRESSURE, 1.0)])
        cleared, _ = await until(stream, lambda e, _: any(not is_active(event) for event in e))
        assert cleared[-1].data["ConditionId"] == first.data["ConditionId"]


@pytest.mark.needs("node-opcua")
async def test_an_alarm_is_acknowledged_confirmed_and_commented_by_the_tag_that_told_of_it(
    start_node_server: StartPlant,
) -> None:
    server = start_node_server("plain", "counter")
    tags = [events_of("alarms", event_type="i=2782"), events_of("grave", severity_min=900)]
    alarms, grave = tags

    async with connector_for(server.endpoint).open() as session, aclosing(session.stream(tags, None)) as stream:

        async def act(tag: Tag, **value: Value) -> WriteResult:
            (result,) = await session.write([Write(tag, value)])
            return result

        async def state(name: str, value: object) -> Event:
            found, _ = await until(stream, lambda e, _: any(event.data.get(name) == value for event in e))
            return found[-1]

        await until(stream, lambda _, s: len(s) >= 2)
        await session.write([Write(PRESSURE, 15.0)])
        told = await state("AckedState/Id", False)
        assert is_active(told)

        for tag, value, label in (
            (grave, {"acknowledge": told.id}, "BadOutOfRange"),  # it has not told of this one
            (alarms, {"acknowledge": "00" * 16}, "BadOutOfRange"),
            (alarms, {"acknowledge": told.id, "confirm": told.id}, "BadTypeMismatch"),
            (alarms, {"acknowledge": told.id, "comments": "x"}, "BadTypeMismatch"),
            (alarms, {"acknowledge": told.id, "comment": "x" * 2000}, "BadOutOfRange"),
            (alarms, {"acknowledge": "no id"}, "BadTypeMismatch"),
            (alarms, {"shelve": told.id}, "BadTypeMismatch"),
        ):
            refused = await act(tag, **value)
            assert (refused.quality.label, bool(refused.reason), refused.answer) == (label, True, None)
        (nothing,) = await session.write([Write(alarms, True)])
        assert nothing.quality.label == "BadTypeMismatch"

        assert (await act(alarms, add_comment=told.id, comment="I go there")).answer == {}
        newest = await state("Comment", "I go there")
        assert newest.data["AckedState/Id"] is False
        old = await act(alarms, acknowledge=told.id)
        assert (old.quality.is_bad, old.reason) == (True, "BadEventIdUnknown")  # this server wants the newest
        assert (await act(alarms, acknowledge=newest.id, comment="valve was shut")).quality.is_good
        acknowledged = await state("AckedState/Id", True)
        assert (acknowledged.data["Comment"], acknowledged.data["ConfirmedState/Id"]) == ("valve was shut", False)
        assert (await act(alarms, confirm=acknowledged.id)).quality.is_good
        assert (await state("ConfirmedState/Id", True)).data["ConditionId"] == told.data["ConditionId"]


@pytest.mark.needs("node-opcua")
async def test_an_event_tag_that_cannot_be_is_bad_beside_the_good_ones(counter: Process) -> None:
    tags = [
        events_of("good", event_fields=("LocalTime", "2:Nothing")),
        events_of("unknown type", event_type="nsu=urn:nowhere;i=7"),
        Tag("no notifier", PRESSURE.address, 0.05, 0.1, {"mode": "events"}),
    ]
    async with (
        connector_for(counter.endpoint).open() as session,
        aclosing(session.stream(tags, None)) as stream,
    ):
        _, samples = await until(stream, lambda _, s: len(s) >= 3)
        found = {sample.tag: sample.quality for sample in samples}
        assert found["good"].is_good
        assert found["unknown type"].label == "BadNodeIdUnknown"
        assert found["no notifier"].is_bad
        counter.send(signal.SIGUSR1)
        (event,), _ = await until(stream, lambda e, _: len(e) >= 1)
        assert event.tag == "good"
        assert "LocalTime" in event.data
