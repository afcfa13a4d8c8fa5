"""Alarms as the client reads them from streams."""

from __future__ import annotations

import pytest

from millstream.client._alarms import _row
from millstream.client._streams import StoredFrame
from millstream.protocols.cloudevents import CloudEvent, encode_event


@pytest.mark.parametrize(("source", "flow"), [("/flows/watch", "watch"), ("/hall", ""), ("press", "")])
def test_an_alarm_that_another_program_tells_in_the_same_form_is_listed_without_a_flow(source: str, flow: str) -> None:
    data = {"change": "raised", "state": "unacknowledged", "priority": "high"}
    headers, payload = encode_event(CloudEvent("1", source, "millstream.alarm.raised", data, 5))
    row = _row(StoredFrame("H_INTEGRITY", 1, 7, "uns.v1.acme.p1._alarm.hi", payload, headers))
    assert row is not None
    assert (row.path, row.time_ns, row.flow) == ("acme/p1:hi", 5, flow)
