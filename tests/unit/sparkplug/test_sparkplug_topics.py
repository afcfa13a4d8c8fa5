"""Topics and STATE of Sparkplug 3.0, chapters 4 and 6."""

from __future__ import annotations

import json

import pytest

from millstream.kernel import DecodeError
from millstream.protocols.sparkplug_topic import MessageType, State, StateTopic, Topic, parse_topic


@pytest.mark.tck(
    "tck-id-topic-structure",
    "tck-id-topic-structure-namespace-a",
    "tck-id-topic-structure-namespace-device-id-associated-message-types",
)
@pytest.mark.parametrize("kind", ["DBIRTH", "DDEATH", "DDATA", "DCMD"])
def test_a_topic_of_a_device_has_five_levels(kind: str) -> None:
    topic = parse_topic(f"spBv1.0/Plant 1/{kind}/press/axis")
    assert topic == Topic("Plant 1", MessageType(kind), "press", "axis")
    assert str(topic) == f"spBv1.0/Plant 1/{kind}/press/axis"
    with pytest.raises(DecodeError, match="needs device id"):
        parse_topic(f"spBv1.0/Plant 1/{kind}/press")


@pytest.mark.tck("tck-id-topic-structure-namespace-device-id-non-associated-message-types")
@pytest.mark.parametrize("kind", ["NBIRTH", "NDEATH", "NDATA", "NCMD"])
def test_a_topic_of_a_node_has_four_levels(kind: str) -> None:
    assert parse_topic(f"spBv1.0/g/{kind}/n") == Topic("g", MessageType(kind), "n")
    with pytest.raises(DecodeError, match="has no device id"):
        parse_topic(f"spBv1.0/g/{kind}/n/d")


def test_a_state_topic_has_three_levels_and_no_group() -> None:
    assert parse_topic("spBv1.0/STATE/host 1") == StateTopic("host 1")
    assert StateTopic("host 1").text == "spBv1.0/STATE/host 1"


@pytest.mark.tck(
    "tck-id-intro-group-id-string",
    "tck-id-intro-edge-node-id-string",
    "tck-id-intro-device-id-string",
    "tck-id-topic-structure-namespace-duplicate-device-id-across-edge-node",
    "tck-id-case-sensitivity-sparkplug-ids",
)
def test_ids_may_have_blanks_and_any_script_and_differ_by_case() -> None:
    first = parse_topic("spBv1.0/Gruppe süd/DDATA/プレス/Achse .*>")
    assert first == Topic("Gruppe süd", MessageType.DDATA, "プレス", "Achse .*>")
    assert parse_topic(str(first)) == first
    assert parse_topic("spBv1.0/g/DDATA/n/D") != parse_topic("spBv1.0/g/DDATA/n/d")
    assert parse_topic("spBv1.0/g/DDATA/n1/d") != parse_topic("spBv1.0/g/DDATA/n2/d")


@pytest.mark.tck(
    "tck-id-intro-group-id-chars",
    "tck-id-intro-edge-node-id-chars",
    "tck-id-intro-device-id-chars",
    "tck-id-topic-structure-namespace-valid-group-id",
    "tck-id-topic-structure-namespace-valid-edge-node-id",
    "tck-id-topic-structure-namespace-valid-device-id",
)
@pytest.mark.parametrize("bad", ["", "a+", "a/b", "#", "\0", "\ud800"])
def test_an_id_that_cannot_be_a_level_is_refused(bad: str) -> None:
    for ids in ((bad, "n", "d"), ("g", bad, "d"), ("g", "n", bad)):
        with pytest.raises(DecodeError) as refused:
            Topic(ids[0], MessageType.DDATA, ids[1], ids[2])
        assert refused.value.code == "MS-1503"
    with pytest.raises(DecodeError):
        StateTopic(bad)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spAv1.0/g/NDATA/n",
        "spBv1.0",
        "spBv1.0/g/XDATA/n",
        "spBv1.0/g/ndata/n",
        "spBv1.0/g/DDATA/n/d/e",
        "spBv1.0/g",
    ],
)
def test_another_topic_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_topic(text)


def test_a_topic_longer_than_mqtt_allows_is_refused() -> None:
    assert Topic("g" * 30_000, MessageType.NDATA, "n" * 30_000)
    with pytest.raises(DecodeError, match="too long"):
        Topic("g" * 40_000, MessageType.NDATA, "n" * 30_000)


@pytest.mark.tck("tck-id-payloads-state-will-message-payload", "tck-id-payloads-state-birth-payload")
def test_a_state_is_json_with_exactly_two_members() -> None:
    assert json.loads(State(True, 1_700_000_000_123).encode()) == {"online": True, "timestamp": 1_700_000_000_123}
    assert State.decode(b'{"timestamp": 7, "online": false}') == State(False, 7)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"ONLINE",
        b"null",
        b"[]",
        b'{"online": 1, "timestamp": 1}',
        b'{"online": true}',
        b'{"timestamp": 1}',
        b'{"online": true, "timestamp": "1"}',
        b'{"online": true, "timestamp": 1.5}',
        b"\xff",
        b" " * 5000,
    ],
)
def test_another_state_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError) as refused:
        State.decode(raw)
    assert refused.value.code == "MS-1504"
