"""What nats-server announces, as recorded from a real cluster, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millstream.protocols.server_advisory import AlarmWatch, LimitWatch, ServerEvent, read_advisory

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data" / "server_advisories.json").read_text(encoding="utf-8")
)

JS = "io.nats.jetstream.advisory.v1."


def _read(subject: str, raw: object, domain: str = "hub") -> ServerEvent | None:
    return read_advisory(subject, json.dumps(raw).encode(), domain=domain)


def _events() -> list[ServerEvent]:
    found = [_read(each["subject"], each["payload"]) for each in RECORDED]
    return [event for event in found if event is not None]


def test_each_recorded_trouble_is_one_event_and_daily_work_is_none() -> None:
    assert [(event.what, event.severity, event.code) for event in _events()] == [
        ("leader_elected", "info", None),  # of the cluster
        ("leader_elected", "info", None),  # of a stream
        ("leaf_connected", "info", None),
        ("leaf_lost", "warning", "MS-2612"),
        ("max_deliveries", "warning", "MS-2611"),
        ("slow_consumer", "alarm", "MS-2613"),
        ("quorum_lost", "alarm", "MS-2610"),
        ("quorum_lost", "alarm", "MS-2610"),
    ]


def test_an_event_says_what_happened_to_whom() -> None:
    texts = [event.text for event in _events()]
    assert texts == [
        "DZ3zKgSi leads the cluster",
        "h1-b leads Q; not level yet: h1-c",
        "edge e1 at 127.0.0.1 connected to h1-b",
        "edge e1 at 127.0.0.1 is gone (client closed)",
        "message 1 of Q was delivered 2 times to consumer c1 and never acknowledged",
        "program slow at 127.0.0.1 was too slow for what it subscribes to and was cut off "
        "(slow consumer (pending bytes))",
        "consumer c1 of Q has no majority of its replicas; not there: h1-b, h1-c",
        "stream Q has no majority of its replicas; not there: h1-b, h1-c",
    ]
    ids = [event.id for event in _events()]
    assert len(set(ids)) == len(ids)
    assert all(event.time_ns for event in _events())


def test_an_event_names_the_account_that_it_concerns() -> None:
    link = {"type": "io.nats.server.advisory.v1.client_connect", "client": {"kind": "Leafnode", "acc": "ACME"}}
    lost = {"type": JS + "stream_quorum_lost", "account": "ACME", "stream": "H_LOCAL"}  # as the system account has it
    stopped = {"server": {"name": "h1-a", "domain": "hub"}}
    found = [_read("x", link), _read("x", lost), _read("$SYS.SERVER.NA.SHUTDOWN", stopped)]
    assert [event.account if event is not None else None for event in found] == ["ACME", "ACME", ""]


def test_what_an_edge_announces_of_itself_is_not_the_hubs() -> None:
    assert all(_read(each["subject"], each["payload"], "elsewhere") is None for each in RECORDED[:5])


@pytest.mark.parametrize(
    ("subject", "raw", "what"),
    [
        (
            "$SYS.SERVER.NABC.SHUTDOWN",
            {"server": {"name": "h1-a", "id": "NABC", "seq": 3, "domain": "hub"}},
            "server_stopped",
        ),
        (
            "x",
            {"type": JS + "server_out_of_space", "server": "h1-a", "stream": "S"},
            "storage_full",
        ),
        ("x", {"type": JS + "api_limit_reached", "server": "h1-a", "dropped": 7}, "api_limit"),
        (
            "x",
            {"type": JS + "stream_action", "stream": "S", "action": "delete"},
            "stream_deleted",
        ),
        ("x", {"type": JS + "stream_action", "stream": "S", "action": "create"}, None),
        ("x", {"type": JS + "restore_complete", "stream": "S", "bytes": 5}, "restored"),
        ("x", {"type": JS + "something_new"}, None),
        ("x", [1, 2], None),
        ("x", {"type": 7, "client": "nonsense"}, None),
        (
            "x",
            {
                "type": "io.nats.server.advisory.v1.client_disconnect",
                "client": {"kind": "Client", "name": "p"},
                "reason": "Maximum Connections Exceeded",
            },
            "limit_reached",
        ),
    ],
)
def test_other_announcements(subject: str, raw: object, what: str | None) -> None:
    event = _read(subject, raw)
    assert (event.what if event is not None else None) == what


def test_bytes_that_are_no_json_are_no_event() -> None:
    assert read_advisory("$JS.EVENT.ADVISORY.X", b"\xff{", domain="hub") is None


def test_a_limit_is_near_once_until_there_is_room_again() -> None:
    watch = LimitWatch()
    told = [watch.feed("stream S", used, 100, 1) for used in (10, 79, 80, 95, 75, 69, 90)]
    assert [event.what if event is not None else None for event in told] == [
        None, None, "limit_near", None, None, "limit_far", "limit_near",
    ]  # fmt: skip
    assert told[2] is not None
    assert told[2].as_data() == {
        "severity": "alarm", "code": "MS-2619", "text": "stream S is 80% full", "name": "stream S", "used": 80,
        "bound": 100,
    }  # fmt: skip
    assert watch.feed("unbound", 10**12, -1, 1) is None


def test_an_alarm_is_told_when_it_is_raised_and_when_it_is_over() -> None:
    watch = AlarmWatch()
    raised = watch.feed({"MS-0614": "flow control stalled: E_e1_I"}, 1)
    assert [(e.what, e.code, e.text) for e in raised] == [("alarm_raised", "MS-0614", "flow control stalled: E_e1_I")]
    assert watch.feed({"MS-0614": "flow control stalled: E_e1_I, E_e2_I"}, 2) == []
    over = watch.feed({}, 3)
    assert [(e.what, e.severity) for e in over] == [("alarm_over", "info")]
