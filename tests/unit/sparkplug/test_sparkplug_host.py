"""The host application's knowledge of nodes (Sparkplug 3.0, chapter 5), message by message."""

from __future__ import annotations

from typing import Any

import pytest
from sparkplug_node import T0, UNIT, PaperNode, Plant, T, data, metric, of, values

from millstream.model import BAD_NO_COMMUNICATION
from millstream.protocols.sparkplug import Metric, Parameter, Property, Raw, Template
from millstream.protocols.sparkplug_host import NODES_COUNT_MAX, rebirth_command
from millstream.protocols.sparkplug_host_model import (
    BadMessage,
    MetricKey,
    MetricUpdate,
    Missing,
    Presence,
    RebirthRequest,
)
from millstream.protocols.sparkplug_value import to_raw
from millstream.protocols.sparkplug_wire import decode_payload, encode_payload


def born(plant: Plant, *, device: bool = True) -> PaperNode:
    """A node with the metrics a (alias 1) and b (2), its device d with c (3)."""
    node = PaperNode()
    plant.take(node.nbirth(metric("a", 1, alias=1, properties=UNIT), metric("b", "x", T.STRING, alias=2)))
    if device:
        plant.take(node.send("DBIRTH", metric("c", 7, alias=3), device="d"))
    return node


# -- births and data --------------------------------------------------------------------------------------------------


@pytest.mark.tck("tck-id-payloads-name-requirement", "tck-id-payloads-alias-data-cmd-requirement")
def test_a_birth_gives_names_and_data_comes_by_alias() -> None:
    plant, node = Plant(), PaperNode()
    events = plant.take(
        node.nbirth(metric("a", -1, alias=1, properties=UNIT), metric("axis/x", 2.5, T.DOUBLE, alias=2))
    )
    assert values(events) == {"g/n#a": -1, "g/n#axis/x": 2.5}
    assert of(events, Presence) == [Presence("g", "n", None, True, T0, "birth")]
    assert all(e.is_birth for e in of(events, MetricUpdate))
    assert values(plant.take(node.send("NDATA", data(2, 3.5, T.DOUBLE)))) == {"g/n#axis/x": 3.5}
    assert values(plant.take(node.send("NDATA", data(1, -5)))) == {"g/n#a": -5}
    assert {m.key.name: m.unit for m in plant.host.metrics()} == {"a": "mm", "axis/x": None}


def test_values_of_a_device_go_to_the_device() -> None:
    plant = Plant()
    node = born(plant)
    assert values(plant.take(node.send("DDATA", data(3, 8), device="d"))) == {"g/n/d#c": 8}
    assert plant.host.is_online("g", "n", "d")
    events = plant.take(node.send("NDATA", data(3, 9)))  # an alias of the device in a message of the node
    assert values(events) == {}
    assert of(events, RebirthRequest)


@pytest.mark.tck("tck-id-payloads-name-birth-data-requirement", "tck-id-payloads-metric-timestamp-in-UTC")
def test_a_metric_has_its_own_time_and_else_that_of_the_message() -> None:
    plant = Plant()
    node = born(plant)
    events = plant.take(node.send("NDATA", data(1, 1, timestamp_ms=T0 - 5), data(2, "y", T.STRING), time_ms=T0 + 3))
    assert [e.time_ms for e in of(events, MetricUpdate)] == [T0 - 5, T0 + 3]
    events = plant.take(node.send("NDATA", data(1, 1), time_ms=None))
    assert [e.time_ms for e in of(events, MetricUpdate)] == [None]
    events = plant.take(node.send("NDATA", data(1, 4, timestamp_ms=2**64 - 1)))
    assert [(e.value, e.time_ms) for e in of(events, MetricUpdate)] == [(4, None)]
    assert "2262" in of(events, BadMessage)[0].reason


def test_a_historical_value_is_marked() -> None:
    plant = Plant()
    node = born(plant)
    events = plant.take(node.send("NDATA", data(1, 1, timestamp_ms=5, is_historical=True), data(1, 2)))
    assert [(e.value, e.is_historical) for e in of(events, MetricUpdate)] == [(1, True), (2, False)]


@pytest.mark.tck("tck-id-payloads-propertyset-quality-value-type", "tck-id-payloads-propertyset-quality-value-value")
@pytest.mark.parametrize(
    ("prop", "label"),
    [
        (Property(T.INT32, 0), "Bad"),
        (Property(T.INT32, 192), "Good"),
        (Property(T.INT32, 500), "UncertainLastUsableValue"),
        (Property(T.INT32, 7), "Bad"),
        (Property(T.STRING, "good"), "Bad"),
        (Property(T.INT32, None), "Good"),
    ],
)
def test_the_property_quality_becomes_ours_and_lasts(prop: Property, label: str) -> None:
    plant = Plant()
    node = born(plant)
    events = plant.take(node.send("NDATA", data(1, 4, properties={"Quality": prop})))
    assert [(e.value, e.quality.label) for e in of(events, MetricUpdate)] == [(4, label)]
    assert bool(of(events, BadMessage)) is (prop.value in (7, "good"))
    assert of(plant.take(node.send("NDATA", data(1, 5))), MetricUpdate)[0].quality.label == label


def test_a_null_and_a_value_of_another_type_are_bad_beside_the_good_ones() -> None:
    plant = Plant()
    node = born(plant)
    events = plant.take(node.send("NDATA", data(1, None), data(2, 5, T.INT32), data(1, 6)))
    assert [(e.value, e.quality.label) for e in of(events, MetricUpdate)] == [
        (None, "BadDataUnavailable"),
        (None, "BadTypeMismatch"),
        (6, "Good"),
    ]
    assert [e.reason for e in of(events, BadMessage)] == [
        "'spBv1.0/g/NDATA/n': b: value of STRING stands in a wrong field"
    ]


def test_a_metric_without_a_known_datatype_is_bad_from_its_birth_on() -> None:
    plant, node = Plant(), PaperNode()
    events = plant.take(node.nbirth(Metric("odd", alias=1, datatype=99, raw=Raw("int_value", 1)), metric("a", 1)))
    assert values(events) == {"g/n#odd": "BadTypeMismatch", "g/n#a": 1}
    assert len(of(events, BadMessage)) == 1
    assert values(plant.take(node.send("NDATA", data(1, 1)))) == {"g/n#odd": "BadTypeMismatch"}


@pytest.mark.tck("tck-id-payloads-alias-uniqueness")
def test_an_alias_that_is_taken_stays_with_its_first_metric() -> None:
    plant = Plant()
    node = born(plant)
    events = plant.take(node.send("DBIRTH", metric("e", 1, alias=1), device="d2"))
    assert "alias 1 is taken" in of(events, BadMessage)[0].reason
    assert values(plant.take(node.send("NDATA", data(1, 5)))) == {"g/n#a": 5}


def test_a_metric_that_a_new_birth_leaves_out_is_gone() -> None:
    plant = Plant()
    node = born(plant)
    assert values(plant.take(node.nbirth(metric("a", 4, alias=1)))) == {"g/n#a": 4, "g/n#b": "BadNodeIdUnknown"}


def test_a_name_that_stands_in_data_serves_as_well_as_an_alias() -> None:
    plant = Plant()
    node = born(plant)
    assert values(plant.take(node.send("NDATA", metric("a", 5), metric("b", "z", T.STRING)))) == {
        "g/n#a": 5,
        "g/n#b": "z",
    }


def test_mqtt_spb_wrapper_leaves_the_group_of_a_name_out_in_data() -> None:
    plant, node = Plant(), PaperNode()
    plant.take(node.nbirth())
    plant.take(node.send("DBIRTH", metric("DATA/temp", 1), metric("CMD/temp", 2), metric("ATTR/sn", 3), device="d"))
    events = plant.take(node.send("DDATA", metric("temp", 5), metric("sn", 6), device="d"))
    assert values(events) == {"g/n/d#DATA/temp": 5, "g/n/d#ATTR/sn": 6}


# -- what is not known ------------------------------------------------------------------------------------------------


def test_data_before_a_birth_is_counted_and_the_node_asked() -> None:
    plant, node = Plant(), PaperNode()
    events = plant.take(node.send("NDATA", data(1, 1), data(2, 2)))
    assert events == [
        RebirthRequest("g", "n", "NDATA before its birth"),
        Missing("g", "n", 2, "NDATA before its birth"),
    ]


def test_data_of_a_device_that_was_not_born_asks_the_node() -> None:
    plant = Plant()
    node = born(plant, device=False)
    events = plant.take(node.send("DDATA", data(3, 1), device="d"))
    assert values(events) == {}
    assert of(events, RebirthRequest) == [RebirthRequest("g", "n", "DDATA before its birth")]


def test_an_unknown_alias_does_not_spoil_the_others() -> None:
    plant = Plant()
    node = born(plant)
    events = plant.take(node.send("NDATA", data(77, 1), data(1, 5)))
    assert values(events) == {"g/n#a": 5}
    assert of(events, Missing) == [Missing("g", "n", 1, "in no birth")]
    assert of(events, BadMessage)[0].reason == "'spBv1.0/g/NDATA/n': alias 77 is in no birth"
    assert of(events, RebirthRequest) == [RebirthRequest("g", "n", "a metric that is in no birth")]


def test_a_payload_that_cannot_be_read_is_kept_and_the_node_asked() -> None:
    plant = Plant()
    born(plant)
    events = plant.take(("spBv1.0/g/NDATA/n", b"\xff\xff"))
    assert of(events, BadMessage)[0].raw == b"\xff\xff"
    assert of(events, RebirthRequest) == [RebirthRequest("g", "n", "a payload that cannot be read")]


@pytest.mark.parametrize("topic", ["spBv1.0/g/XDATA/n", "spBv1.0/g/DDATA/n", "spBv1.0//NDATA/n", "other"])
def test_a_topic_that_is_none_is_kept_as_bad(topic: str) -> None:
    events = Plant().take((topic, b""))
    assert [type(e) for e in events] == [BadMessage]


@pytest.mark.parametrize("topic", ["spBv1.0/STATE/other", "spBv1.0/g/NCMD/n", "spBv1.0/g/DCMD/n/d"])
def test_commands_and_states_of_other_hosts_are_of_no_account(topic: str) -> None:
    assert Plant().take((topic, b"\xff")) == []


# -- rebirth requests -------------------------------------------------------------------------------------------------


def test_requests_to_one_node_are_rare_and_rarer_while_they_do_not_help() -> None:
    plant, node = Plant(rebirth_interval_ms=10_000), PaperNode()
    asked = []
    for _ in range(600):
        events = plant.take(node.send("NDATA", data(1, 1)), after_ms=1_000) + plant.wait(0)
        asked += [plant.now_ms - T0 for e in of(events, RebirthRequest)]
    assert asked == [1_000, 11_000, 31_000, 71_000, 151_000, 311_000]


def test_a_request_that_was_held_back_is_sent_unless_the_birth_comes() -> None:
    plant = Plant(rebirth_interval_ms=10_000)
    node = born(plant)
    assert of(plant.take(node.send("NDATA", data(77, 1))), RebirthRequest)
    plant.take(node.nbirth(metric("a", 1, alias=1)))
    assert not of(plant.take(node.send("NDATA", data(78, 1)), after_ms=2_000), RebirthRequest)
    assert of(plant.wait(7_999), RebirthRequest) == []
    assert of(plant.wait(1), RebirthRequest) == [RebirthRequest("g", "n", "a metric that is in no birth")]
    plant.take(node.send("NDATA", data(79, 1)))
    plant.take(node.nbirth(metric("a", 1, alias=1)))
    assert of(plant.wait(600_000), RebirthRequest) == []


@pytest.mark.tck(
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-name",
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-value",
    "tck-id-payloads-ncmd-seq",
    "tck-id-payloads-ncmd-timestamp",
    "tck-id-topics-ncmd-timestamp",
    "tck-id-payloads-name-cmd-requirement",
)
def test_a_rebirth_command_says_true_and_has_no_seq() -> None:
    payload = decode_payload(encode_payload(rebirth_command(T0)))
    assert (payload.timestamp_ms, payload.seq) == (T0, None)
    assert payload.metrics == (
        Metric("Node Control/Rebirth", timestamp_ms=T0, datatype=T.BOOLEAN, raw=Raw("boolean_value", True)),
    )


def test_nodes_known_before_are_asked_once_after_a_new_connection() -> None:
    plant = Plant()
    events = plant.host.expect([("g", "n"), ("g", "m")], plant.now)
    assert of(events, RebirthRequest) == [
        RebirthRequest("g", "n", "host has just connected"),
        RebirthRequest("g", "m", "host has just connected"),
    ]
    assert plant.wait(3_600_000) == []


# -- sequence ---------------------------------------------------------------------------------------------------------


def test_the_counter_runs_on_from_255_to_0() -> None:
    plant = Plant()
    node = born(plant)
    for i in range(600):
        assert values(plant.take(node.send("NDATA", data(1, i)))) == {"g/n#a": i}


@pytest.mark.tck(
    "tck-id-operational-behavior-host-reordering-start", "tck-id-operational-behavior-host-reordering-success"
)
def test_messages_that_overtake_others_wait_for_them() -> None:
    plant = Plant(reorder_timeout_ms=2_000)
    node = born(plant)
    late, second, third = (node.send("NDATA", data(1, i)) for i in (1, 2, 3))
    assert plant.take(third) == []
    assert plant.take(second, after_ms=500) == []
    assert plant.host.due_ms() == 2_000
    events = plant.take(late, after_ms=1_000)
    assert [e.value for e in of(events, MetricUpdate)] == [1, 2, 3]
    assert plant.host.due_ms() is None
    assert plant.wait(60_000) == []


@pytest.mark.tck(
    "tck-id-operational-behavior-host-reordering-param", "tck-id-operational-behavior-host-reordering-rebirth"
)
@pytest.mark.parametrize("timeout_ms", [500, 5_000])
def test_a_message_that_never_comes_is_counted_and_the_node_asked(timeout_ms: int) -> None:
    plant = Plant(reorder_timeout_ms=timeout_ms)
    node = born(plant)
    for i in range(3):
        node.send("NDATA", data(1, i))  # lost
    assert plant.take(node.send("NDATA", data(1, 3))) == []
    assert plant.wait(timeout_ms - 1) == []
    events = plant.wait(1)
    assert of(events, Missing) == [Missing("g", "n", 3, "messages left out (seq)")]
    assert values(events) == {"g/n#a": 3}
    assert of(events, RebirthRequest) == [RebirthRequest("g", "n", "messages are missing")]


def test_without_a_reorder_timeout_a_gap_is_told_at_once() -> None:
    plant = Plant(reorder_timeout_ms=0)
    node = born(plant)
    node.send("NDATA", data(1, 0))
    events = plant.take(node.send("NDATA", data(1, 1)))
    assert values(events) == {"g/n#a": 1}
    assert of(events, Missing) == [Missing("g", "n", 1, "messages left out (seq)")]


def test_a_node_that_does_not_count_is_waited_for_once_only() -> None:
    plant = Plant(reorder_timeout_ms=2_000)
    node = born(plant)
    plant.take(node.send("NDATA", data(1, 1), seq=90))
    plant.wait(2_000)
    for i in (17, 3, 200, 255, 256, 2**63):
        assert values(plant.take(node.send("NDATA", data(1, i % 100), seq=i))) == {"g/n#a": i % 100}
    plant.take(node.nbirth(metric("a", 1, alias=1)))
    node.send("NDATA", data(1, 0))
    assert plant.take(node.send("NDATA", data(1, 1))) == []  # it is waited for again


def test_a_message_without_seq_is_taken_as_it_comes() -> None:
    plant = Plant()
    node = born(plant)
    assert values(plant.take(node.send("NDATA", data(1, 5), seq=None))) == {"g/n#a": 5}
    assert values(plant.take(node.send("NDATA", data(1, 6)))) == {"g/n#a": 6}


def test_what_waits_is_bounded() -> None:
    plant = Plant()
    node = born(plant)
    node.send("NDATA", data(1, 0))  # lost
    sent = [node.send("NDATA", data(2, "x" * 1_000_000, T.STRING)) for _ in range(5)]
    assert [plant.take(each) for each in sent[:4]] == [[], [], [], []]
    assert len(of(plant.take(sent[4]), MetricUpdate)) == 5


def test_what_waits_is_taken_before_a_new_birth() -> None:
    plant = Plant()
    node = born(plant)
    node.send("NDATA", data(1, 0))  # lost
    plant.take(node.send("NDATA", data(1, 5)))
    events = plant.take(node.nbirth(metric("a", 6, alias=1), metric("b", "x", T.STRING)))
    assert [e.value for e in of(events, MetricUpdate)] == [5, 6, "x"]


# -- deaths -----------------------------------------------------------------------------------------------------------


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
)
def test_a_death_of_a_node_makes_all_of_it_stale_at_the_hosts_time() -> None:
    plant = Plant()
    node = born(plant)
    events = plant.take(node.ndeath(), after_ms=12_345)
    assert [(e.device, e.is_online, e.time_ms) for e in of(events, Presence)] == [
        (None, False, T0 + 12_345),
        ("d", False, T0 + 12_345),
    ]
    assert {(e.key.address, e.value, e.quality, e.time_ms) for e in of(events, MetricUpdate)} == {
        (address, None, BAD_NO_COMMUNICATION, T0 + 12_345) for address in ("g/n#a", "g/n#b", "g/n/d#c")
    }
    assert not plant.host.is_online("g", "n")
    assert not plant.host.is_online("g", "n", "d")
    assert plant.take(node.ndeath()) == []


@pytest.mark.tck("tck-id-payloads-ndeath-bdseq")
def test_a_death_of_another_session_is_ignored_while_the_node_lives() -> None:
    plant = Plant(doubt_ms=30_000)
    node = PaperNode()
    node.bd_seq = 4
    plant.take(node.nbirth(metric("a", 1, alias=1)))
    events = plant.take(node.ndeath(3))
    assert of(events, Presence) == of(events, MetricUpdate) == []
    assert of(events, RebirthRequest) == [RebirthRequest("g", "n", "NDEATH with bdSeq 3, its birth had 4")]
    plant.take(node.nbirth(metric("a", 2, alias=1)), after_ms=1_000)
    assert plant.wait(3_600_000) == []
    assert plant.host.is_online("g", "n")


def test_a_node_that_says_nothing_after_such_a_death_is_dead_since_then() -> None:
    plant = Plant(doubt_ms=30_000)
    node = born(plant)
    plant.take(node.ndeath(bd_seq=1))  # pysparkplug: 1 after a birth with 0
    assert of(plant.wait(29_999), MetricUpdate) == []
    events = plant.wait(1)
    assert {(e.key.address, e.time_ms) for e in of(events, MetricUpdate)} == {
        (address, T0) for address in ("g/n#a", "g/n#b", "g/n/d#c")
    }


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale",
)
def test_a_death_of_a_device_has_the_time_that_it_says() -> None:
    plant = Plant()
    node = born(plant)
    events = plant.take(node.send("DDEATH", device="d", time_ms=T0 + 7), after_ms=99)
    assert of(events, Presence) == [Presence("g", "n", "d", False, T0 + 7, "DDEATH")]
    assert of(events, MetricUpdate) == [MetricUpdate(MetricKey("g", "n", "d", "c"), None, BAD_NO_COMMUNICATION, T0 + 7)]
    assert plant.host.is_online("g", "n")
    assert values(plant.take(node.send("DBIRTH", metric("c", 9, alias=3), device="d"))) == {"g/n/d#c": 9}


def test_a_death_of_a_device_from_before_its_birth_is_ignored() -> None:
    plant = Plant()
    node = born(plant)
    assert plant.take(node.send("DDEATH", device="d", time_ms=T0 - 1)) == []
    assert plant.host.is_online("g", "n", "d")


def test_mqtt_spb_wrappers_ddeath_without_seq_and_time_has_the_hosts_time() -> None:
    plant = Plant()
    node = born(plant)
    events = plant.take(node.send("DDEATH", device="d", time_ms=None, seq=None), after_ms=99)
    assert of(events, Presence) == [Presence("g", "n", "d", False, T0 + 99, "DDEATH")]
    assert values(plant.take(node.send("NDATA", data(1, 6)))) == {"g/n#a": 6}


def test_a_birth_in_a_new_session_is_the_death_of_the_old_one() -> None:
    """nats-server's listener sends no will when another client takes over."""
    plant = Plant()
    node = born(plant)
    node.bd_seq = 1
    events = plant.take(node.nbirth(metric("a", 5, alias=9), metric("b", "x", T.STRING)), after_ms=50)
    assert values(events) == {"g/n/d#c": "BadNoCommunication", "g/n#a": 5, "g/n#b": "x"}
    assert of(events, Presence)[0] == Presence("g", "n", "d", False, T0 + 50, "node was born in a new session")
    assert values(plant.take(node.send("NDATA", data(9, 6)))) == {"g/n#a": 6}


def test_a_rebirth_leaves_the_devices_for_their_births_to_come() -> None:
    plant = Plant(birth_timeout_ms=10_000)
    node = born(plant)
    events = plant.take(node.nbirth(metric("a", 5, alias=1), metric("b", "x", T.STRING, alias=2)))
    assert values(events) == {"g/n#a": 5, "g/n#b": "x"}
    assert values(plant.take(node.send("DBIRTH", metric("c", 6, alias=3), device="d"))) == {"g/n/d#c": 6}
    assert plant.wait(60_000) == []


def test_a_device_that_does_not_come_back_after_a_rebirth_is_stale() -> None:
    plant = Plant(birth_timeout_ms=10_000)
    node = born(plant)
    plant.take(node.nbirth(metric("a", 5, alias=1), metric("b", "x", T.STRING, alias=2)))
    events = plant.wait(10_000)
    assert values(events) == {"g/n/d#c": "BadNoCommunication"}
    assert of(events, Presence)[0].reason == "node was born again, the device was not"


def test_a_device_with_a_session_of_its_own_lives_on_after_its_nodes_rebirth() -> None:
    plant = Plant()
    node = born(plant)
    plant.take(node.nbirth(metric("a", 5, alias=1), metric("b", "x", T.STRING, alias=2)))
    assert values(plant.take(node.send("DDATA", metric("c", 8), device="d"))) == {"g/n/d#c": 8}
    assert of(plant.wait(60_000), MetricUpdate) == []


def test_a_device_without_a_node_is_taken_and_the_node_asked() -> None:
    plant, node = Plant(), PaperNode()
    events = plant.take(node.send("DBIRTH", metric("c", 7), device="d"))
    assert values(events) == {"g/n/d#c": 7}
    assert of(events, RebirthRequest) == [RebirthRequest("g", "n", "DBIRTH before NBIRTH")]
    assert values(plant.take(node.send("DDATA", metric("c", 8), device="d"))) == {"g/n/d#c": 8}
    assert plant.host.is_online("g", "n", "d")
    assert not plant.host.is_online("g", "n")


@pytest.mark.parametrize(("born_ms", "holds_ms"), [(T0 + 80, T0 + 80), (T0 + 10, T0 + 51), (None, T0 + 51)])
def test_a_value_from_before_the_death_holds_again_since_the_birth(born_ms: int | None, holds_ms: int) -> None:
    plant = Plant()
    node = born(plant)
    plant.take(node.ndeath(), after_ms=50)
    again = metric("a", 1, alias=1, timestamp_ms=T0 - 9)
    events = plant.take(node.send("NBIRTH", again, metric("b", "y", T.STRING, timestamp_ms=T0 + 60), time_ms=born_ms))
    assert [e.time_ms for e in of(events, MetricUpdate)] == [T0 - 9, holds_ms, T0 + 60]
    events = plant.take(node.nbirth(again))  # a rebirth while it lives keeps the time
    assert [e.time_ms for e in of(events, MetricUpdate) if e.key.name == "a"] == [T0 - 9]


def test_a_device_that_was_heard_before_its_node_lives_through_the_nodes_birth() -> None:
    plant, node = Plant(), PaperNode()
    plant.take(node.send("DBIRTH", metric("c", 7), device="d"))
    events = plant.take(node.nbirth(metric("a", 1)))
    assert values(events) == {"g/n#a": 1}
    assert values(plant.take(node.send("DBIRTH", metric("c", 8), device="d"))) == {"g/n/d#c": 8}


def test_a_lost_link_makes_all_stale_and_births_are_needed_again() -> None:
    plant = Plant()
    node = born(plant)
    events = plant.host.disconnected(plant.now)
    assert set(values(events).values()) == {"BadNoCommunication"}
    assert len(values(events)) == 3
    assert values(plant.take(node.send("NDATA", data(1, 1)))) == {}


# -- templates and bounds ---------------------------------------------------------------------------------------------

DEFINITION = Template(True, None, "1", (metric("speed", None, T.DOUBLE), metric("on", None, T.BOOLEAN)))


def instance(*members: Metric) -> Raw:
    """Of Motor."""
    return Raw("template_value", Template(False, "Motor", "1", members, (Parameter("zone", T.INT32, 4),)))


@pytest.mark.tck(
    "tck-id-payloads-template-instance-members-birth",
    "tck-id-payloads-template-instance-members-data",
    "tck-id-payloads-template-definition-nbirth",
    "tck-id-payloads-template-ref-instance",
    "tck-id-payloads-template-is-definition",
    "tck-id-payloads-template-is-definition-definition",
    "tck-id-payloads-template-is-definition-instance",
)
def test_the_members_of_a_template_are_tags_of_their_own() -> None:
    plant, node = Plant(), PaperNode()
    events = plant.take(
        node.nbirth(
            Metric("Motor", datatype=T.TEMPLATE, raw=Raw("template_value", DEFINITION)),
            Metric(
                "m1",
                alias=5,
                datatype=T.TEMPLATE,
                raw=instance(metric("speed", 1.5, T.DOUBLE), metric("on", True, T.BOOLEAN)),
            ),
        )
    )
    assert values(events) == {"g/n#m1/speed": 1.5, "g/n#m1/on": True}
    part = Metric(alias=5, raw=instance(Metric("speed", raw=to_raw(T.DOUBLE, 2.0))))
    assert values(plant.take(node.send("NDATA", part))) == {"g/n#m1/speed": 2.0}
    assert values(plant.take(node.ndeath())) == dict.fromkeys(("g/n#m1/speed", "g/n#m1/on"), "BadNoCommunication")


def test_templates_without_end_are_refused() -> None:
    raw: Any = to_raw(T.INT32, 1)
    found = Metric("x", datatype=T.INT32, raw=raw)
    for _ in range(12):
        found = Metric("x", datatype=T.TEMPLATE, raw=Raw("template_value", Template(False, "x", metrics=(found,))))
    events = Plant().take(PaperNode().nbirth(found))
    assert "nested deeper" in of(events, BadMessage)[0].reason


def test_a_broker_full_of_nodes_is_bounded() -> None:
    plant = Plant()
    for i in range(NODES_COUNT_MAX):
        plant.take((f"spBv1.0/g/NDATA/{i}", b""))
    assert [e.reason for e in of(plant.take(("spBv1.0/g/NDATA/x", b"")), BadMessage)] == [
        f"more than {NODES_COUNT_MAX} edge nodes"
    ]
    assert of(plant.take(("spBv1.0/g/NDATA/1", b"")), BadMessage) == []


def test_births_without_end_are_bounded() -> None:
    plant = Plant(metrics_count_max=100)
    metrics = [Metric(str(i), datatype=T.INT8, is_null=True) for i in range(40)]
    refused = [of(plant.take(PaperNode(str(i)).nbirth(*metrics)), BadMessage) for i in range(3)]
    assert refused[:2] == [[], []]
    assert "more than 100 metrics" in refused[2][0].reason
    assert not of(plant.take(PaperNode("0").nbirth(*metrics)), BadMessage)  # the same again takes no more


@pytest.mark.parametrize("address", ["g/n#a", "g/n/d#a/b:c", "My Group/n 1/d#x#y"])
def test_an_address_survives(address: str) -> None:
    assert MetricKey.parse(address).address == address


@pytest.mark.parametrize("address", ["", "g/n", "g/n#", "g#a", "g/n/d/e#a", "g//d#a", "+/n#a"])
def test_another_address_is_refused(address: str) -> None:
    from millstream.kernel import DecodeError

    with pytest.raises(DecodeError):
        MetricKey.parse(address)
