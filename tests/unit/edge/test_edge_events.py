"""Events of a connector: stored beside its samples, in order, each as a CloudEvent of its tag."""

from __future__ import annotations

from typing import Any

import pytest
from edge_fakes import Rig, Script, rig
from test_pipeline import KEY, NOW, pipeline

from millstream.edge._pipeline import Output, Pipeline
from millstream.kernel import Unreachable
from millstream.model import Event
from millstream.protocols.cloudevents import CloudEvent, decode_event
from millstream.protocols.contract import Contract, ContractBook
from millstream.protocols.nats_wire import parse_headers
from millstream.sdk.testing import run_virtual

ALARM = Event("t0", "opcua.LimitAlarm", "aa01", "opc.tcp://plc:4840", {"ActiveState": True}, NOW, "alarm")


def fed(made: Pipeline, *events: Event) -> Output:
    """What the pipeline makes of them."""
    out = Output()
    for event in events:
        made.feed_event(event, out)
    return out


def stored(made: Rig) -> list[tuple[str, CloudEvent]]:
    """The events in the store, with their subjects."""
    return [
        (message.subject, decode_event(parse_headers(message.headers).values, message.payload))
        for message in made.stream.messages
        if "._event." in message.subject or "._alarm." in message.subject
    ]


def test_an_event_is_a_cloud_event_at_its_tags_event_or_alarm_subject() -> None:
    data = {"Message": "too hot \u00fc", "raw": b"\x01", "nan": float("nan"), "nested": {"a": [1, 2]}}
    made = pipeline(deadband={"absolute": 1.0})
    event = Event(KEY, "machine.door", "7", "opc.tcp://plc:4840", data, NOW)
    out = fed(made, event, event)
    assert [message.subject for message in out.messages] == ["uns.v1.acme.p1.line._event.t"] * 2
    found = decode_event(dict(out.messages[0].headers), out.messages[0].payload)
    assert (found.id, found.type, found.source, found.time_ns) == ("7", "machine.door", event.source, NOW)
    assert found.data["Message"] == data["Message"]
    assert found.data["nested"] == data["nested"]
    assert [message.samples_count for message in out.messages] == [0, 0]
    assert (made.counters.events, made.counters.received) == (2, 0)


@pytest.mark.parametrize(
    "broken",
    [
        Event(KEY, "t", "", "urn:x"), Event(KEY, "", "1", "urn:x"), Event(KEY, "t", "1", ""),
        Event(KEY, "t", "1", "urn:x", {"large": "x" * 2_000_000}), Event(KEY, "t", "1", "urn:x", {"x": object()}),  # type: ignore[dict-item]
    ],
)  # fmt: skip
def test_what_cannot_be_an_event_is_a_dead_letter(broken: Event) -> None:
    made = pipeline()
    out = fed(made, broken, Event(KEY, "good", "2", "urn:x"))
    assert [letter.subject for letter in out.dead] == ["uns.v1.acme.p1.line._event.t"]
    assert len(out.messages) == 1
    assert made.counters.dead == 1


def test_an_event_that_breaks_its_contract_is_in_quarantine() -> None:
    made = pipeline()
    schema = {"type": "object", "required": ["Severity"]}
    said: dict[str, Any] = {"name": "alarms", "kind": "alarm", "version": 2, "paths": ("acme/**:**",), "schema": schema}
    made.enforce(ContractBook([Contract(**said, event_type="opcua.*")]))
    good = Event(KEY, "opcua.Alarm", "1", "urn:x", {"Severity": 3}, kind="alarm")
    out = fed(
        made, good, Event(KEY, "opcua.Alarm", "2", "urn:x", {}, kind="alarm"), Event(KEY, "opcua.Alarm", "3", "urn:x")
    )
    assert [dict(message.headers)["ce-id"] for message in out.messages] == ["1", "3"]
    assert [(letter.code, letter.contract) for letter in out.dead] == [("MS-0330", "alarms/2")]


def test_events_are_stored_with_the_samples_of_their_batch_and_counted_apart() -> None:
    made = rig(Script(rows_count=100, events={5: ALARM, 55: ALARM}))
    run_virtual(made.supervisor.run())
    assert made.values == list(range(100))
    assert [(subject, event.id) for subject, event in stored(made)] == [("uns.v1.acme.p1._alarm.t0", "aa01")] * 2
    assert made.script.acks[-1] == 100
    assert made.supervisor.outbox.samples_stored_count == 100


def test_a_link_that_drops_gives_samples_once_and_events_at_least_once() -> None:
    script = Script(rows_count=100, events={5: ALARM, 55: ALARM}, stream_fail_at=[(60, Unreachable("cut"))])
    made = rig(script)
    run_virtual(made.supervisor.run())
    assert made.values == list(range(100))
    assert len(stored(made)) == 2
