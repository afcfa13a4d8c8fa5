"""Edge nodes that others wrote, at Mosquitto: right names, values and stale marks, each faulty in its own way."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases.mosquitto_peer import broker
from sparkplug_kit import connector, foreign_node, hosting, until, watching

from millstream.model import Sample
from millstream.protocols.sparkplug_wire import decode_payload
from millstream.sdk import Tag, Write

pytestmark = pytest.mark.needs("mosquitto")


def is_stale(sample: Sample) -> bool:
    """Without a value since some time."""
    return sample.quality.label == "BadNoCommunication" and sample.value is None and sample.source_time_ns is not None


@pytest.mark.needs("sparkplug-client")
@pytest.mark.tck(
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-verb",
    "tck-id-topics-ncmd-topic",
    "tck-id-topics-ncmd-mqtt",
    "tck-id-topics-ncmd-payload",
    "tck-id-payloads-ncmd-qos",
    "tck-id-payloads-ncmd-retain",
)
async def test_npm_sparkplug_client_is_asked_for_its_births_and_followed_to_its_death(tmp_path: Path) -> None:
    """It was there first, has no metric times, UInt64 as bdSeq, and its will is sent with QoS 0."""
    async with (
        broker(tmp_path) as peer,
        foreign_node("sparkplug_edge.js", peer.port) as node,
        watching(peer.port) as watcher,
        hosting(connector(peer.port)) as host,
    ):
        node.tell(ndata={"Count": -5})
        await until(lambda: bool(node.words("ncmd")))
        assert node.words("ncmd") == [[["Node Control/Rebirth", True]]]
        await until(lambda: bool(watcher.of("/NCMD/")))
        request = watcher.of("/NCMD/")[0]
        assert (request.topic, request.qos, request.retain) == ("spBv1.0/js/NCMD/n1", 0, False)
        await host.sees(js__n1__Count=-5, js__n1__Label="first", js__n1__Big=1, js__n1__d1__on=True)
        assert host.last("js/n1/Größe/Breite") == 0.5
        for i in range(300):  # over the end of the counter
            node.tell(ddata={"axis/speed": i / 2})
        node.tell(ndata={"Label": ""})
        await host.sees(js__n1__d1__axis__speed=149.5, js__n1__Label="")
        assert [s.value for s in host.of("js/n1/d1/axis/speed")][-300:] == [i / 2 for i in range(300)]
        assert all(s.source_time_ns for s in host.of("js/n1/d1/axis/speed"))
        node.tell(ddeath=1)
        await host.sees(js__n1__d1__axis__speed="BadNoCommunication", js__n1__d1__on="BadNoCommunication")
        assert host.last("js/n1/Count") == -5
        node.tell(die=1)
        await host.sees(js__n1__Count="BadNoCommunication", js__n1__Label="BadNoCommunication")
        assert is_stale(host.samples[-1])
        assert not host.frames_bad


@pytest.mark.needs("sparkplug-client")
@pytest.mark.parametrize("algorithm", ["DEFLATE", "GZIP"])
async def test_npm_sparkplug_client_is_followed_when_it_compresses(tmp_path: Path, algorithm: str) -> None:
    async with (
        broker(tmp_path) as peer,
        hosting(connector(peer.port)) as host,
        foreign_node("sparkplug_edge.js", peer.port, algorithm) as node,
    ):
        await host.sees(js__n1__Count=0, js__n1__d1__on=True)
        node.tell(ndata={"Count": 7}, ddata={"axis/speed": 2.5})
        await host.sees(js__n1__Count=7, js__n1__d1__axis__speed=2.5)
        node.tell(ddeath=1)
        await host.sees(js__n1__d1__on="BadNoCommunication")
        assert not host.frames_bad


@pytest.mark.needs("sparkplug-client")
@pytest.mark.tck(
    "tck-id-operational-behavior-data-commands-ncmd-verb",
    "tck-id-operational-behavior-data-commands-ncmd-metric-name",
    "tck-id-operational-behavior-data-commands-ncmd-metric-value",
    "tck-id-operational-behavior-data-commands-dcmd-verb",
    "tck-id-operational-behavior-data-commands-dcmd-metric-name",
    "tck-id-operational-behavior-data-commands-dcmd-metric-value",
    "tck-id-topics-dcmd-topic",
    "tck-id-topics-dcmd-mqtt",
    "tck-id-topics-dcmd-payload",
    "tck-id-topics-dcmd-timestamp",
    "tck-id-payloads-dcmd-timestamp",
    "tck-id-payloads-dcmd-seq",
    "tck-id-payloads-dcmd-qos",
    "tck-id-payloads-dcmd-retain",
)
async def test_npm_sparkplug_client_gets_our_commands(tmp_path: Path) -> None:
    async with (
        broker(tmp_path) as peer,
        watching(peer.port) as watcher,
        hosting(connector(peer.port)) as host,
        foreign_node("sparkplug_edge.js", peer.port) as node,
    ):
        await host.sees(js__n1__Count=0, js__n1__d1__on=True)
        tags = {
            name: Tag(name, address)
            for name, address in (
                ("count", "js/n1#Count"),
                ("on", "js/n1/d1#on"),
                ("gone", "js/n1#Gone"),
                ("away", "js/n9#Count"),
            )
        }
        results = await host.session.write(
            [
                Write(tags["count"], 42),
                Write(tags["on"], False),
                Write(tags["count"], "text"),
                Write(tags["count"], 2**40),
                Write(tags["gone"], 1),
                Write(tags["away"], 1),
            ]
        )
        assert [result.quality.label for result in results] == [
            "Good",
            "Good",
            "BadTypeMismatch",
            "BadOutOfRange",
            "BadNodeIdUnknown",
            "BadNoCommunication",
        ]
        await until(lambda: bool(node.words("ncmd")) and bool(node.words("dcmd")))
        assert node.words("ncmd") == [[["Count", 42]]]
        assert node.words("dcmd") == [[["on", False]]]
        await watcher.catch_up()
        for topic in ("spBv1.0/js/NCMD/n1", "spBv1.0/js/DCMD/n1/d1"):
            assert [(m.qos, m.retain) for m in watcher.of(topic)] == [(0, False)]
            payload = decode_payload(watcher.of(topic)[0].payload)
            assert payload.seq is None
            assert payload.timestamp_ms


@pytest.mark.needs("pysparkplug")
async def test_pysparkplug_is_followed_though_it_cannot_be_reborn_and_miscounts_its_death(tmp_path: Path) -> None:
    """No Node Control/Rebirth; its NDEATH on disconnect has a bdSeq one too high."""
    async with (
        broker(tmp_path) as peer,
        hosting(connector(peer.port, doubt_timeout="1s")) as host,
        foreign_node("pysparkplug_edge.py", peer.port) as node,
    ):
        await host.sees(py__n1__count=0, py__n1__wide=2**32 - 1, py__n1__label="first", py__n1__d1__speed=1.5)
        node.tell(ndata={"count": -7, "label": "x"})
        node.tell(ddata={"speed": 2.5})
        await host.sees(py__n1__count=-7, py__n1__label="x", py__n1__d1__speed=2.5)
        node.tell(stop=1)
        await host.sees(py__n1__count="BadNoCommunication", py__n1__d1__speed="BadNoCommunication")
        assert host.gaps_count == 0


@pytest.mark.needs("pysparkplug")
async def test_pysparkplugs_will_is_believed_at_once(tmp_path: Path) -> None:
    async with (
        broker(tmp_path) as peer,
        hosting(connector(peer.port, doubt_timeout="1h")) as host,
        foreign_node("pysparkplug_edge.py", peer.port) as node,
    ):
        await host.sees(py__n1__count=0, py__n1__d1__speed=1.5)
        node.tell(die=1)
        await host.sees(py__n1__count="BadNoCommunication", py__n1__d1__speed="BadNoCommunication")


@pytest.mark.needs("mqtt-spb-wrapper")
async def test_mqtt_spb_wrapper_is_followed_though_its_device_counts_for_itself(tmp_path: Path) -> None:
    """Names change between birth and data, DDEATH has neither seq nor time, the NDEATH's bdSeq is another one."""
    async with broker(tmp_path) as peer:
        made = connector(peer.port, doubt_timeout="1s", reorder_timeout="200ms")
        async with hosting(made) as host, foreign_node("mqtt_spb_edge.py", peer.port) as node:
            await host.sees(spb__n1__DATA__count=0, spb__n1__d1__DATA__temp=20.5, spb__n1__ATTR__vendor="somebody")
            for i in range(1, 6):
                node.tell(ndata={"count": i}, ddata={"temp": i / 2})
                await host.sees(spb__n1__DATA__count=i, spb__n1__d1__DATA__temp=i / 2)
            node.tell(dstop=1)
            await host.sees(spb__n1__d1__DATA__temp="BadNoCommunication")
            assert host.last("spb/n1/DATA/count") == 5
            node.tell(stop=1)
            await host.sees(spb__n1__DATA__count="BadNoCommunication")


@pytest.mark.needs("sparkplug-client", "pysparkplug", "mqtt-spb-wrapper")
async def test_all_three_at_one_broker_are_asked_rarely(tmp_path: Path) -> None:
    async with (
        broker(tmp_path) as peer,
        foreign_node("sparkplug_edge.js", peer.port) as js,
        foreign_node("pysparkplug_edge.py", peer.port) as py,
        foreign_node("mqtt_spb_edge.py", peer.port) as spb,
        watching(peer.port) as watcher,
        hosting(connector(peer.port, rebirth_interval="10min")) as host,
    ):
        await until(lambda: bool(watcher.of("STATE")))
        for i in range(50):
            js.tell(ndata={"Count": i})
            py.tell(ndata={"count": i})
            spb.tell(ndata={"count": i}, ddata={"temp": i / 2})
        await host.sees(js__n1__Count=49)
        await until(lambda: {"py", "spb"} <= {m.topic.split("/")[1] for m in watcher.of("/NCMD/")})
        assert sorted(m.topic for m in watcher.of("/NCMD/")) == [f"spBv1.0/{g}/NCMD/n1" for g in ("js", "py", "spb")]
