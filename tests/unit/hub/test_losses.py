"""A majority that is lost is one event, whatever number of streams it has taken, and one more when it is back."""

from __future__ import annotations

import json

from millstream.hub._losses import GATHER_NS, GATHER_NS_MAX, LOSSES_COUNT_MAX, Losses
from millstream.hub._server_events import HeardEvents
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.server_advisory import ServerEvent, read_advisory

S = 10**9


def heard(kind: str, id: str, stream: str, second: int = 0, gone: tuple[str, ...] = ("h1-b", "h1-c")) -> ServerEvent:
    """What a server announces: a stream, or a consumer ("S > c"), is without its majority, or a stream has a leader."""
    name, _, consumer = stream.partition(" > ")
    raw = {
        "type": f"io.nats.jetstream.advisory.v1.{kind}", "id": id, "timestamp": f"2026-11-22T10:00:{second:02}Z",
        "stream": name, "leader": "h1-a", "replicas": [{"name": one, "current": False} for one in gone],
    }  # fmt: skip
    event = read_advisory("x", json.dumps(raw | ({"consumer": consumer} if consumer else {})).encode(), domain="hub")
    assert event is not None
    return event


def lost(id: str, stream: str, second: int = 0, gone: tuple[str, ...] = ("h1-b", "h1-c")) -> ServerEvent:
    kind = "consumer_quorum_lost" if ">" in stream else "stream_quorum_lost"
    return heard(kind, id, stream, second, gone)


def elected(id: str, stream: str, second: int) -> ServerEvent:
    return heard("stream_leader_elected", id, stream, second)


def test_all_that_lost_its_majority_is_one_event_with_the_worst_and_one_when_it_is_back() -> None:
    losses = Losses()
    events = [lost("1", "H_DLQ", gone=("h1-b",)), lost("2", "H_INTEGRITY", 1), lost("3", "H_INTEGRITY > c1", 2)]
    assert [losses.lost(event) for event in events] == [True] * 3
    assert losses.due(0) == []
    assert losses.due(GATHER_NS - 1) == []
    (told,) = losses.due(GATHER_NS)
    assert (told.what, told.code, told.id, told.severity) == ("quorum_lost", "MS-2610", "1", "alarm")
    assert told.text == (
        "2 streams and 1 consumer have no majority of their replicas; the worst: stream H_INTEGRITY has no majority of "
        "its replicas; not there: h1-b, h1-c"
    )
    assert told.data == {
        "count": 3, "worst": "H_INTEGRITY", "streams": ["H_DLQ", "H_INTEGRITY"], "consumers": ["H_INTEGRITY > c1"],
    }  # fmt: skip
    assert not losses.lost(lost("4", "H_DLQ")), "it was told, and is not back"
    assert losses.elected(elected("5", "H_DLQ", 20)) == []
    (back,) = losses.elected(elected("6", "H_INTEGRITY", 42))
    assert (back.what, back.id, back.severity) == ("quorum_back", "1/back", "info")
    assert back.text == "the majority of 3 streams and consumers is back after 42 s"
    assert losses.lost(lost("7", "H_DLQ")), "lost anew"


def test_where_it_is_back_before_it_can_be_told_both_are_told() -> None:
    losses = Losses()
    losses.lost(lost("1", "S"))
    losses.elected(elected("2", "S", 30))
    losses.due(0)
    assert [event.what for event in losses.due(GATHER_NS)] == ["quorum_lost", "quorum_back"]


def test_losses_that_do_not_end_are_told_after_a_while_and_no_more_wait_than_can_be_named() -> None:
    losses = Losses()
    now_ns = 0
    while not (told := losses.due(now_ns)):
        losses.lost(lost(f"e{now_ns}", f"S{now_ns}"))
        now_ns += S
    assert GATHER_NS_MAX <= now_ns <= GATHER_NS_MAX + 2 * S
    assert told[0].data["count"] == len(told[0].data["streams"])
    full = Losses()
    assert sum(full.lost(lost(str(number), f"S{number}")) for number in range(LOSSES_COUNT_MAX + 5)) == LOSSES_COUNT_MAX


def test_streams_of_one_name_are_told_apart_by_their_tenant() -> None:
    losses = Losses()
    for name in ("acme", "beta"):
        event = lost(name, "H_LOCAL")
        losses.lost(ServerEvent("quorum_lost", "alarm", event.text, name, data={**event.data, "tenant": name}))
    losses.due(0)
    assert losses.due(GATHER_NS)[0].data["streams"] == ["acme/H_LOCAL", "beta/H_LOCAL"]


def test_a_member_forgets_the_losses_that_the_one_that_leads_has_told() -> None:
    leads, stands_by = HeardEvents(), HeardEvents()
    for each in (leads, stands_by):
        each.add(lost("1", "S"))
        each.add(lost("2", "T"))
    assert leads.first(0) is None
    told = leads.first(GATHER_NS)
    assert told is not None
    headers, payload = encode_event(CloudEvent(told.id, "/hub/server", "millstream.server.quorum_lost", told.as_data()))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    message = (1, b"live.x", b"", b"NATS/1.0\r\n" + lines + b"\r\n", payload)
    for each in (leads, stands_by):
        each._hear_stored([message])
        assert len(each) == 0
        each.add(elected("3", "S", 5))
        each.add(elected("4", "T", 6))
        kinds = []
        while (event := each.first(2 * GATHER_NS)) is not None:
            kinds.append(event.what)
            each.done(event.id)
        assert kinds == ["leader_elected", "leader_elected", "quorum_back"]
