"""An edge node's session (Sparkplug 3.0, chapter 5), and what a host makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sparkplug_node import T0

from millstream.model import BAD, BAD_COMMUNICATION_ERROR, BAD_NO_COMMUNICATION, GOOD, UNCERTAIN, Quality
from millstream.protocols.mqtt_publish import Publish
from millstream.protocols.sparkplug import BD_SEQ, REBIRTH, DataType, Metric, Payload, Property, PropertySet
from millstream.protocols.sparkplug_host import Moment, SparkplugHost, rebirth_command
from millstream.protocols.sparkplug_host_model import BadMessage, MetricUpdate, Missing, RebirthRequest
from millstream.protocols.sparkplug_node import (
    MESSAGE_METRICS_MAX,
    Command,
    Disconnect,
    EdgeNode,
    NodeOptions,
    NodeUpdate,
    Output,
    Refused,
    Stage,
    Subscribe,
)
from millstream.protocols.sparkplug_topic import State
from millstream.protocols.sparkplug_value import member_value, to_raw
from millstream.protocols.sparkplug_wire import decode_payload, encode_payload

T = DataType
STATE = "spBv1.0/STATE/host1"
NCMD = "spBv1.0/g/NCMD/n"


def up(name: str, value: Any, after_ms: int = 0, device: str | None = None, **more: Any) -> NodeUpdate:
    """A value at T0 and so many ms."""
    return NodeUpdate(device, name, value, T0 + after_ms, **more)


def lost(name: str, after_ms: int, quality: Quality = BAD_NO_COMMUNICATION, device: str = "d") -> NodeUpdate:
    """The machine cannot be reached."""
    return up(name, None, after_ms, device=device, quality=quality)


def plain_value(metric: Metric) -> object:
    """As it is on the wire: DATA has no datatype."""
    return None if metric.raw is None else metric.raw.value


def properties_of(payload: Payload, name: str) -> PropertySet:
    """Of one metric."""
    return next(m.properties or {} for m in payload.metrics if m.name == name)


def sent(found: Sequence[Output]) -> list[tuple[str, Payload]]:
    """What was published: the topic behind the namespace, and the payload."""
    return [(o.topic.removeprefix("spBv1.0/g/"), decode_payload(o.payload)) for o in found if isinstance(o, Publish)]


def kinds(found: Sequence[Output]) -> list[str]:
    """Topics only."""
    return [topic for topic, _ in sent(found)]


def live(**options: Any) -> EdgeNode:
    """A node with a, and a device d with b, in its first session."""
    node = EdgeNode(NodeOptions("g", "n", **options))
    node.update([up("a", 1), up("b", 0.5, device="d")], T0)
    node.connecting(T0)
    node.connected(T0)
    return node


# -- connecting -------------------------------------------------------------------------------------------------------


@pytest.mark.tck(
    "tck-id-message-flow-edge-node-birth-publish-will-message",
    "tck-id-message-flow-edge-node-birth-publish-will-message-topic",
    "tck-id-message-flow-edge-node-birth-publish-will-message-payload",
    "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
    "tck-id-message-flow-edge-node-birth-publish-will-message-qos",
    "tck-id-message-flow-edge-node-birth-publish-will-message-will-retained",
    "tck-id-topics-ndeath-topic",
    "tck-id-topics-ndeath-payload",
    "tck-id-topics-ndeath-seq",
    "tck-id-payloads-ndeath-seq",
    "tck-id-payloads-ndeath-will-message",
    "tck-id-payloads-ndeath-will-message-qos",
    "tck-id-payloads-ndeath-will-message-retain",
    "tck-id-topics-nbirth-bdseq-included",
    "tck-id-topics-nbirth-bdseq-matching",
    "tck-id-topics-nbirth-bdseq-increment",
    "tck-id-payloads-nbirth-bdseq",
    "tck-id-payloads-nbirth-bdseq-repeat",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
)
def test_the_will_of_each_connect_has_the_bdseq_of_its_birth() -> None:
    node = EdgeNode(NodeOptions("g", "n"))
    for i in range(258):
        will = node.connecting(T0)
        assert (will.topic, will.qos, will.is_retained) == ("spBv1.0/g/NDEATH/n", 1, False)
        death = decode_payload(will.payload)
        assert death.seq is None
        assert [(m.name, m.datatype, member_value(m)) for m in death.metrics] == [(BD_SEQ, T.INT64, i % 256)]
        topic, birth = sent(node.connected(T0))[0]
        assert topic == "NBIRTH/n"
        assert [(m.name, m.datatype, member_value(m)) for m in birth.metrics][:1] == [(BD_SEQ, T.INT64, i % 256)]
        node.disconnected()


@pytest.mark.tck(
    "tck-id-message-flow-edge-node-ncmd-subscribe",
    "tck-id-message-flow-device-dcmd-subscribe",
    "tck-id-message-flow-edge-node-birth-publish-connect",
    "tck-id-principles-birth-certificates-order",
)
def test_a_node_subscribes_to_its_commands_and_then_its_birth_is_its_first_word() -> None:
    node = EdgeNode(NodeOptions("g", "n", is_writable=True))
    assert node.update([up("a", 1)], T0) == []
    node.connecting(T0)
    found = node.connected(T0)
    assert found[:2] == [Subscribe(NCMD, 1), Subscribe("spBv1.0/g/DCMD/n/+", 1)]
    assert kinds(found) == ["NBIRTH/n"]


@pytest.mark.tck(
    "tck-id-topics-nbirth-topic",
    "tck-id-topics-nbirth-mqtt",
    "tck-id-topics-nbirth-seq-num",
    "tck-id-topics-nbirth-timestamp",
    "tck-id-topics-nbirth-metric-reqs",
    "tck-id-topics-nbirth-metrics",
    "tck-id-topics-nbirth-rebirth-metric",
    "tck-id-topics-dbirth-topic",
    "tck-id-topics-dbirth-mqtt",
    "tck-id-topics-dbirth-seq",
    "tck-id-topics-dbirth-timestamp",
    "tck-id-topics-dbirth-metric-reqs",
    "tck-id-topics-dbirth-metrics",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-topic",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-payload",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-qos",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-retained",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-seq",
    "tck-id-message-flow-device-birth-publish-nbirth-wait",
    "tck-id-message-flow-device-birth-publish-dbirth-topic",
    "tck-id-message-flow-device-birth-publish-dbirth-match-edge-node-topic",
    "tck-id-message-flow-device-birth-publish-dbirth-payload",
    "tck-id-message-flow-device-birth-publish-dbirth-qos",
    "tck-id-message-flow-device-birth-publish-dbirth-retained",
    "tck-id-message-flow-device-birth-publish-dbirth-payload-seq",
    "tck-id-operational-behavior-data-publish-nbirth",
    "tck-id-operational-behavior-data-publish-nbirth-values",
    "tck-id-operational-behavior-data-publish-dbirth",
    "tck-id-operational-behavior-data-publish-dbirth-values",
    "tck-id-operational-behavior-data-commands-rebirth-name",
    "tck-id-operational-behavior-data-commands-rebirth-name-aliases",
    "tck-id-operational-behavior-data-commands-rebirth-datatype",
    "tck-id-operational-behavior-data-commands-rebirth-value",
    "tck-id-payloads-nbirth-timestamp",
    "tck-id-payloads-nbirth-seq",
    "tck-id-payloads-nbirth-rebirth-req",
    "tck-id-payloads-nbirth-qos",
    "tck-id-payloads-nbirth-retain",
    "tck-id-payloads-dbirth-timestamp",
    "tck-id-payloads-dbirth-seq",
    "tck-id-payloads-dbirth-seq-inc",
    "tck-id-payloads-dbirth-order",
    "tck-id-payloads-dbirth-qos",
    "tck-id-payloads-dbirth-retain",
    "tck-id-payloads-sequence-num-req-nbirth",
    "tck-id-payloads-timestamp-in-UTC",
    "tck-id-payloads-alias-birth-requirement",
    "tck-id-payloads-alias-uniqueness",
    "tck-id-payloads-metric-datatype-req",
    "tck-id-payloads-metric-propertyvalue-type-req",
    "tck-id-payloads-name-birth-data-requirement",
)
def test_births_list_every_metric_with_name_alias_datatype_and_value_or_null() -> None:
    node = EdgeNode(NodeOptions("g", "n"))
    unit = {"engUnit": Property(T.STRING, "mm")}
    node.declare(None, "later", T.FLOAT, unit)
    node.update([up("a", 1), up("b", 0.5, device="d"), up("c", True, 5, device="e")], T0)
    node.connecting(T0)
    found = node.connected(T0 + 9)
    assert kinds(found) == ["NBIRTH/n", "DBIRTH/n/d", "DBIRTH/n/e"]
    assert all((o.qos, o.is_retained) == (0, False) for o in found if isinstance(o, Publish))
    births = [payload for _, payload in sent(found)]
    assert [b.seq for b in births] == [0, 1, 2]
    assert all(b.timestamp_ms == T0 + 9 for b in births)
    control = births[0].metrics[1]
    assert (control.name, control.alias, control.datatype, member_value(control)) == (REBIRTH, None, T.BOOLEAN, False)
    later, a = births[0].metrics[2:]
    assert (later.name, later.datatype, later.is_null, later.raw) == ("later", T.FLOAT, True, None)
    assert later.properties == {**unit, "Quality": Property(T.INT32, 192)}
    assert (a.name, a.datatype, member_value(a), a.timestamp_ms) == ("a", T.INT64, 1, T0)
    assert [(m.name, m.datatype, member_value(m), m.timestamp_ms) for b in births[1:] for m in b.metrics] == [
        ("b", T.DOUBLE, 0.5, T0),
        ("c", T.BOOLEAN, True, T0 + 5),
    ]
    aliases = [m.alias for b in births for m in b.metrics if m.name not in (BD_SEQ, REBIRTH)]
    assert None not in aliases
    assert len(set(aliases)) == 4
    assert all(m.timestamp_ms for b in births for m in b.metrics)


# -- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.tck(
    "tck-id-topics-ndata-topic",
    "tck-id-topics-ndata-mqtt",
    "tck-id-topics-ndata-seq-num",
    "tck-id-topics-ndata-timestamp",
    "tck-id-topics-ndata-payload",
    "tck-id-topics-ddata-topic",
    "tck-id-topics-ddata-mqtt",
    "tck-id-topics-ddata-seq-num",
    "tck-id-topics-ddata-timestamp",
    "tck-id-topics-ddata-payload",
    "tck-id-principles-rbe-recommended",
    "tck-id-operational-behavior-data-publish-nbirth-change",
    "tck-id-operational-behavior-data-publish-dbirth-change",
    "tck-id-payloads-ndata-timestamp",
    "tck-id-payloads-ndata-seq",
    "tck-id-payloads-ndata-seq-inc",
    "tck-id-payloads-ndata-order",
    "tck-id-payloads-ndata-qos",
    "tck-id-payloads-ndata-retain",
    "tck-id-payloads-ddata-timestamp",
    "tck-id-payloads-ddata-seq",
    "tck-id-payloads-ddata-seq-inc",
    "tck-id-payloads-ddata-order",
    "tck-id-payloads-ddata-qos",
    "tck-id-payloads-ddata-retain",
    "tck-id-payloads-sequence-num-always-included",
    "tck-id-payloads-sequence-num-incrementing",
    "tck-id-payloads-alias-data-cmd-requirement",
    "tck-id-payloads-metric-datatype-not-req",
)
def test_what_changed_goes_out_by_alias_with_the_next_numbers() -> None:
    node = live()
    seq = 1
    for i in range(1, 300):
        found = node.update([up("a", i + 1, i), up("b", i, i, device="d"), up("a", i + 1, i)], T0 + i)
        assert kinds(found) == ["NDATA/n", "DDATA/n/d"]
        assert all((o.qos, o.is_retained) == (0, False) for o in found if isinstance(o, Publish))
        for (_, payload), value in zip(sent(found), (i + 1, float(i)), strict=True):
            seq = (seq + 1) % 256
            assert (payload.seq, payload.timestamp_ms) == (seq, T0 + i)
            (metric,) = payload.metrics
            assert (metric.name, metric.datatype, metric.timestamp_ms, metric.is_historical) == (
                None,
                None,
                T0 + i,
                False,
            )
            assert metric.raw == to_raw(T.INT64 if isinstance(value, int) else T.DOUBLE, value)
    assert node.update([up("a", 300, 999)], T0) == []  # not a change


@pytest.mark.tck(
    "tck-id-operational-behavior-data-publish-nbirth-order", "tck-id-operational-behavior-data-publish-dbirth-order"
)
def test_metrics_of_a_message_are_in_the_order_of_time() -> None:
    node = live()
    node.update([up("z", 0)], T0)
    (found,) = sent(node.update([up("z", 5, 20), up("a", 2, 10), up("a", 3, 30)], T0 + 30))
    assert [m.timestamp_ms for m in found[1].metrics] == [T0 + 10, T0 + 20, T0 + 30]


def test_a_late_value_goes_out_as_historical() -> None:
    node = live()
    node.update([up("a", 2, 100)], T0 + 100)
    (found,) = sent(node.update([up("a", 9, 50)], T0 + 101))
    assert [(m.raw, m.timestamp_ms, m.is_historical) for m in found[1].metrics] == [(to_raw(T.INT64, 9), T0 + 50, True)]


def test_a_new_metric_and_a_changed_datatype_are_born_before_their_value() -> None:
    node = live()
    assert kinds(node.update([up("new", "x", 5)], T0 + 5)) == ["NBIRTH/n", "DBIRTH/n/d"]
    assert kinds(node.update([up("e", 1, 6, device="d")], T0 + 6)) == ["DBIRTH/n/d"]
    found = sent(node.update([up("a", "text", 7)], T0 + 7))
    assert [t for t, _ in found] == ["NBIRTH/n", "DBIRTH/n/d"]
    assert [(m.datatype, member_value(m)) for m in found[0][1].metrics if m.name == "a"] == [(T.STRING, "text")]
    assert kinds(node.update([up("b", 3, 8, device="d")], T0 + 8)) == ["DDATA/n/d"]  # a whole number fits a double


@pytest.mark.parametrize(("quality", "code"), [(GOOD, 192), (UNCERTAIN, 500), (BAD, 0)])
def test_a_quality_goes_out_when_it_changes(quality: Any, code: int) -> None:
    node = live()
    node.update([up("a", 5, 1, quality=BAD if quality is GOOD else GOOD)], T0 + 1)
    (first,) = sent(node.update([up("a", 6, 2, quality=quality)], T0 + 2))
    assert first[1].metrics[0].properties == {"Quality": Property(T.INT32, code)}
    (second,) = sent(node.update([up("a", 7, 3, quality=quality)], T0 + 3))
    assert second[1].metrics[0].properties is None


def test_a_value_that_sparkplug_has_no_type_for_is_refused_beside_the_others() -> None:
    node = live()
    found = node.update([up("o", {"x": 1}, 1), up("a", 5, 1), up("", 1, 1), up(REBIRTH, True, 1)], T0 + 1)
    assert [type(o) for o in found] == [Refused, Refused, Refused, Publish]
    assert kinds(found) == ["NDATA/n"]


def test_much_goes_out_in_several_messages() -> None:
    node = live()
    found = sent(node.update([up("a", i, i) for i in range(2, 2 * MESSAGE_METRICS_MAX + 3)], T0))
    assert [len(p.metrics) for _, p in found] == [MESSAGE_METRICS_MAX, MESSAGE_METRICS_MAX, 1]


# -- devices and leaving ----------------------------------------------------------------------------------------------


@pytest.mark.tck(
    "tck-id-operational-behavior-device-ddeath",
    "tck-id-topics-ddeath-topic",
    "tck-id-topics-ddeath-mqtt",
    "tck-id-topics-ddeath-seq-num",
    "tck-id-payloads-ddeath-timestamp",
    "tck-id-payloads-ddeath-seq",
    "tck-id-payloads-ddeath-seq-inc",
    "tck-id-payloads-ddeath-seq-number",
)
def test_a_device_whose_metrics_have_all_lost_communication_dies_and_is_born_with_the_first_that_is_back() -> None:
    node = live()
    node.update([up("c", 7, 1, device="d")], T0)
    assert kinds(node.update([lost("b", 4)], T0 + 4)) == ["DDATA/n/d"], "c is still there"
    data, death = sent(node.update([lost("c", 5)], T0 + 5))
    assert (data[0], [m.timestamp_ms for m in data[1].metrics]) == ("DDATA/n/d", [T0 + 5])
    assert (death[0], death[1].seq, death[1].timestamp_ms, death[1].metrics) == (
        "DDEATH/n/d",
        ((data[1].seq or 0) + 1) % 256,
        T0 + 5,
        (),
    )
    assert node.update([lost("b", 6), lost("c", 6, BAD_COMMUNICATION_ERROR)], T0 + 6) == []
    assert node.kept_count == 0
    back = sent(node.update([up("b", 1.5, 7, device="d"), up("b", 2.5, 8, device="d")], T0 + 8))
    assert [topic for topic, _ in back] == ["DBIRTH/n/d", "DDATA/n/d"]
    births = {m.name: (plain_value(m), m.timestamp_ms) for m in back[0][1].metrics}
    assert births == {"b": (2.5, T0 + 8), "c": (None, T0 + 6)}
    history = [(plain_value(m), m.timestamp_ms, m.is_historical) for m in back[1][1].metrics]
    assert history == [(1.5, T0 + 7, True)], "a host would take the birth's value for the newest"


def test_a_ddeath_has_no_metrics_and_is_neither_retained_nor_acknowledged() -> None:
    found = [o for o in live().update([lost("b", 5)], T0 + 5) if isinstance(o, Publish)]
    assert [(o.topic, o.qos, o.is_retained) for o in found[-1:]] == [("spBv1.0/g/DDEATH/n/d", 0, False)]


def test_a_device_that_is_not_there_is_in_no_birth_until_it_speaks() -> None:
    node = live()
    node.update([lost("b", 5), lost("x", 5, device="never")], T0 + 5)
    assert kinds(node.received(NCMD, encode_payload(rebirth_command(T0)), T0 + 6)) == ["NBIRTH/n"]
    assert node.update([up("b", 0.25, 1, device="d")], T0 + 7) == [], "an old value does not bring it back"
    found = sent(node.update([up("b", 1.5, 8, device="d"), up("x", 1, 8, device="never")], T0 + 8))
    assert [topic for topic, _ in found] == ["DBIRTH/n/d", "DBIRTH/n/never", "DDATA/n/d"]
    assert [(plain_value(m), m.is_historical) for m in found[2][1].metrics] == [(0.25, True)]


def test_what_was_lost_and_is_back_within_one_batch_is_told_without_a_death() -> None:
    found = sent(live().update([lost("b", 5), up("b", 1.5, 6, device="d")], T0 + 6))
    assert [topic for topic, _ in found] == ["DDATA/n/d"]
    assert [plain_value(m) for m in found[0][1].metrics] == [None, 1.5]


def test_other_bad_qualities_are_no_death() -> None:
    assert kinds(live().update([up("b", None, 5, device="d", quality=BAD)], T0 + 5)) == ["DDATA/n/d"]
    assert kinds(live().update([up("a", None, 5, quality=BAD_NO_COMMUNICATION)], T0 + 5)) == ["NDATA/n"]


def test_a_device_that_was_lost_while_the_node_was_away_is_not_born_with_it() -> None:
    node = live()
    node.disconnected()
    node.update([up("b", 9.5, 4, device="d"), lost("b", 5)], T0 + 5)
    node.connecting(T0 + 6)
    assert kinds(node.connected(T0 + 7)) == ["NBIRTH/n"]
    found = sent(node.update([up("b", 1.5, 8, device="d")], T0 + 8))
    assert [topic for topic, _ in found] == ["DBIRTH/n/d", "DDATA/n/d"]
    assert [(plain_value(m), m.timestamp_ms, m.is_historical) for m in found[1][1].metrics] == [
        (9.5, T0 + 4, True),
        (None, T0 + 5, True),
    ]


def test_properties_stand_in_births_and_new_ones_bring_a_new_birth() -> None:
    node = live()
    bar, psi = ({"engUnit": Property(T.STRING, unit)} for unit in ("bar", "psi"))
    found = sent(node.update([up("p", 1.5, 1, device="d", properties=bar)], T0 + 1))
    assert [topic for topic, _ in found] == ["DBIRTH/n/d"]
    assert properties_of(found[0][1], "p")["engUnit"] == Property(T.STRING, "bar")
    assert kinds(node.update([up("p", 2.5, 2, device="d", properties=dict(bar))], T0 + 2)) == ["DDATA/n/d"]
    assert kinds(node.update([up("p", 3.5, 3, device="d")], T0 + 3)) == ["DDATA/n/d"]
    found = sent(node.update([up("p", 4.5, 4, device="d", properties=psi)], T0 + 4))
    assert [topic for topic, _ in found] == ["DBIRTH/n/d"]
    assert properties_of(found[0][1], "p")["engUnit"] == Property(T.STRING, "psi")
    assert properties_of(found[0][1], "p").keys() == {"engUnit", "Quality"}


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath",
    "tck-id-operational-behavior-edge-node-intentional-disconnect-packet",
    "tck-id-payloads-ndeath-will-message-publisher",
    "tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311",
    "tck-id-payloads-ndeath-bdseq",
)
def test_a_node_that_leaves_says_so_and_disconnects() -> None:
    node = live()
    death, leave = node.leave(T0 + 5)
    assert isinstance(death, Publish)
    assert death.topic == "spBv1.0/g/NDEATH/n"
    assert [member_value(m) for m in decode_payload(death.payload).metrics] == [0]
    assert isinstance(leave, Disconnect)
    assert node.leave(T0 + 6) == []


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.tck(
    "tck-id-operational-behavior-data-commands-rebirth-action-1",
    "tck-id-operational-behavior-data-commands-rebirth-action-2",
    "tck-id-operational-behavior-data-commands-rebirth-action-3",
)
def test_a_rebirth_request_is_answered_by_all_births_with_the_same_bdseq() -> None:
    node = live()
    node.update([up("a", 5, 1)], T0 + 1)
    found = sent(node.received(NCMD, encode_payload(rebirth_command(T0)), T0 + 2))
    assert [(t, p.seq) for t, p in found] == [("NBIRTH/n", 0), ("DBIRTH/n/d", 1)]
    assert member_value(found[0][1].metrics[0]) == 0
    assert [(p.seq) for _, p in sent(node.update([up("a", 6, 3)], T0 + 3))] == [2]
    no = Metric(REBIRTH, datatype=T.BOOLEAN, raw=to_raw(T.BOOLEAN, False))
    assert node.received(NCMD, encode_payload(Payload(T0, (no,))), T0) == []


def test_a_command_is_told_by_name_or_alias_and_refused_when_it_fits_nothing() -> None:
    node = live(is_writable=True)
    dcmd = "spBv1.0/g/DCMD/n/d"

    def give(topic: str, *metrics: Metric) -> list[Output]:
        return node.received(topic, encode_payload(Payload(T0, metrics)), T0)

    assert give(NCMD, Metric("a", raw=to_raw(T.INT64, 7))) == [Command(None, "a", 7)]
    assert give(dcmd, Metric(None, 2, raw=to_raw(T.DOUBLE, 1.5)), Metric("b", is_null=True)) == [
        Command("d", "b", 1.5),
        Command("d", "b", None),
    ]
    for topic, metric in (
        (NCMD, Metric("a", raw=to_raw(T.STRING, "x"))),
        (NCMD, Metric("gone", raw=to_raw(T.INT64, 1))),
        (NCMD, Metric(None, 2, raw=to_raw(T.DOUBLE, 1.0))),  # the device's
        ("spBv1.0/g/DCMD/n/other", Metric("b", raw=to_raw(T.DOUBLE, 1.0))),
    ):
        assert [type(o) for o in give(topic, metric)] == [Refused]
    assert [type(o) for o in node.received(NCMD, b"\xff", T0)] == [Refused]
    assert give("spBv1.0/g/NCMD/other", Metric("a", raw=to_raw(T.INT64, 7))) == []


# -- primary host -----------------------------------------------------------------------------------------------------


def waiting(**options: Any) -> EdgeNode:
    """A node that waits for host1."""
    node = EdgeNode(NodeOptions("g", "n", primary_host="host1", **options))
    node.update([up("a", 0)], T0)
    node.connecting(T0)
    found = node.connected(T0)
    assert found == [Subscribe(NCMD, 1), Subscribe(STATE, 1)]
    assert node.stage is Stage.WAITING
    return node


@pytest.mark.tck(
    "tck-id-message-flow-edge-node-birth-publish-phid-wait",
    "tck-id-message-flow-edge-node-birth-publish-phid-wait-id",
    "tck-id-message-flow-edge-node-birth-publish-phid-wait-online",
    "tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp",
    "tck-id-operational-behavior-edge-node-birth-sequence-wait",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state-subs",
)
def test_a_node_is_not_born_before_its_primary_host_is_online() -> None:
    node = waiting()
    assert node.received("spBv1.0/STATE/other", State(True, T0).encode(), T0) == []
    assert node.received(STATE, State(False, T0 + 10).encode(), T0) == []
    assert node.received(STATE, State(True, T0 + 9).encode(), T0) == []  # older than the last one seen
    assert [type(o) for o in node.received(STATE, b"ONLINE", T0)] == [Refused]
    assert node.received(NCMD, encode_payload(rebirth_command(T0)), T0) == []
    assert kinds(node.received(STATE, State(True, T0 + 10).encode(), T0)) == ["NBIRTH/n"]
    assert node.received(STATE, State(True, T0 + 11).encode(), T0) == []


@pytest.mark.tck(
    "tck-id-message-flow-edge-node-birth-publish-phid-offline",
    "tck-id-operational-behavior-edge-node-termination-host-offline",
    "tck-id-operational-behavior-edge-node-termination-host-offline-reconnect",
    "tck-id-operational-behavior-edge-node-termination-host-offline-timestamp",
)
def test_a_node_whose_primary_host_goes_dies_and_comes_again() -> None:
    node = waiting()
    node.received(STATE, State(True, T0 + 10).encode(), T0)
    assert node.received(STATE, State(False, T0 + 9).encode(), T0) == []  # the will of an older connection
    found = node.received(STATE, State(False, T0 + 10).encode(), T0)
    assert kinds(found) == ["NDEATH/n"]
    assert found[-1] == Disconnect("primary host is offline")
    will = node.connecting(T0)
    assert [member_value(m) for m in decode_payload(will.payload).metrics] == [1]
    assert kinds(node.connected(T0)) == []


@pytest.mark.tck(
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-single-server",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk",
)
def test_a_node_walks_from_server_to_server_until_its_primary_host_is_there() -> None:
    node = waiting(servers_count=3)
    seen = []
    for _ in range(4):
        found = node.received(STATE, State(False, T0).encode(), T0)
        assert found == [Disconnect("primary host is offline")]  # not born here, so there is no death to tell
        seen.append(node.server)
        node.connecting(T0)
        node.connected(T0)
    assert seen == [1, 2, 0, 1]
    assert kinds(node.received(STATE, State(True, T0).encode(), T0)) == ["NBIRTH/n"]


def test_a_thousand_changes_without_the_host_follow_the_birth_in_their_order() -> None:
    """Store and forward has no statement of its own."""
    node = waiting()
    for i in range(1, 1001):
        assert node.update([up("a", i, i), up("b", i / 2, i, device="d")], T0 + i) == []
    found = sent(node.received(STATE, State(True, T0).encode(), T0 + 2000))
    assert [t for t, _ in found][:2] == ["NBIRTH/n", "DBIRTH/n/d"]
    assert [p.seq for _, p in found] == list(range(len(found)))
    host = SparkplugHost()
    updates: list[MetricUpdate] = []
    for topic, payload in found:
        events = host.receive(f"spBv1.0/g/{topic}", encode_payload(payload), Moment(T0, 0))
        assert not [e for e in events if isinstance(e, BadMessage | Missing | RebirthRequest)]
        updates += [e for e in events if isinstance(e, MetricUpdate)]
    births = [(e.key.name, e.value) for e in updates if e.is_birth]
    assert births == [("a", 1000), ("b", 500.0)]
    history = [e for e in updates if not e.is_birth]
    assert all(e.is_historical for e in history)
    for name, step in (("a", 1), ("b", 0.5)):
        own = [(e.value, e.time_ms) for e in history if e.key.name == name]
        first = 0 if name == "a" else 1
        assert own == [(i * step, T0 + i) for i in range(first, 1000)]


def test_what_is_kept_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.protocols.sparkplug_node.BACKLOG_COUNT_MAX", 10)
    node = waiting()
    for i in range(1, 10):
        assert not node.is_full
        node.update([up("a", i, i)], T0)
    assert node.is_full
    node.update([up("a", 99, 99)], T0)
    assert node.dropped_count == 1


@pytest.mark.tck("tck-id-case-sensitivity-metric-names")
def test_metric_names_that_differ_by_case_stay_two_metrics_from_node_to_host() -> None:
    node, host = EdgeNode(NodeOptions("g", "n")), SparkplugHost()
    node.update([up("Speed", 1), up("speed", 2)], T0)
    node.connecting(T0)
    outputs = [*node.connected(T0), *node.update([up("speed", 3, 1)], T0 + 1)]
    found = [
        event for o in outputs if isinstance(o, Publish) for event in host.receive(o.topic, o.payload, Moment(T0, 0))
    ]
    values = [(e.key.name, e.value) for e in found if isinstance(e, MetricUpdate)]
    assert values[-3:] == [("Speed", 1), ("speed", 2), ("speed", 3)]
