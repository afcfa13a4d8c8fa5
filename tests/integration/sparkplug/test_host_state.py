"""STATE of our host application as another client sees it, and what becomes of a lost link."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from cases.mosquitto_peer import broker
from cases.sparkplug_peer import EdgeNode, running
from sparkplug_kit import connector, hosting, until, watching

from millstream.protocols.sparkplug import DataType
from millstream.sdk import Tag

pytestmark = pytest.mark.needs("mosquitto")
STATE = "spBv1.0/STATE/host1"
NODE = ({"count": (DataType.INT32, 0)}, {"speed": (DataType.DOUBLE, 0.5)})


@pytest.mark.tck(
    "tck-id-intro-sparkplug-host-state",
    "tck-id-components-ph-state",
    "tck-id-conformance-primary-host",
    "tck-id-host-topic-phid-birth-message",
    "tck-id-host-topic-phid-birth-required",
    "tck-id-host-topic-phid-birth-topic",
    "tck-id-host-topic-phid-birth-qos",
    "tck-id-host-topic-phid-birth-retain",
    "tck-id-host-topic-phid-birth-payload",
    "tck-id-message-flow-phid-sparkplug-state-publish",
    "tck-id-payloads-state-birth",
    "tck-id-payloads-state-subscribe",
    "tck-id-operational-behavior-host-application-connect-birth",
    "tck-id-operational-behavior-host-application-connect-birth-topic",
    "tck-id-operational-behavior-host-application-connect-birth-payload",
    "tck-id-operational-behavior-host-application-connect-birth-qos",
    "tck-id-operational-behavior-host-application-connect-birth-retained",
    "tck-id-operational-behavior-host-application-termination",
    "tck-id-operational-behavior-host-application-death-topic",
    "tck-id-operational-behavior-host-application-death-payload",
    "tck-id-operational-behavior-host-application-death-qos",
    "tck-id-operational-behavior-host-application-death-retained",
    "tck-id-operational-behavior-host-application-disconnect-intentional",
)
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_the_host_says_when_it_comes_and_when_it_goes(tmp_path: Path, version: str) -> None:
    async with broker(tmp_path) as peer, watching(peer.port) as watcher:
        async with hosting(connector(peer.port, version=version)):
            await until(lambda: bool(watcher.of(STATE)))
        await until(lambda: len(watcher.of(STATE)) == 2)
        born, gone = watcher.of(STATE)
        assert (born.topic, born.qos, gone.qos) == (STATE, 1, 1)
        assert set(json.loads(born.payload)) == {"online", "timestamp"}
        assert json.loads(born.payload)["online"] is True
        assert json.loads(gone.payload)["online"] is False
        assert json.loads(gone.payload)["timestamp"] >= json.loads(born.payload)["timestamp"]
        async with watching(peer.port) as late:  # the old watcher is taken over; what is retained comes to the new one
            await until(lambda: bool(late.of(STATE)))
            assert late.of(STATE)[0].retain
            assert late.of(STATE)[0].payload == gone.payload


@pytest.mark.tck(
    "tck-id-host-topic-phid-death-required",
    "tck-id-operational-behavior-host-application-connect-will",
    "tck-id-operational-behavior-host-application-connect-will-topic",
    "tck-id-operational-behavior-host-application-connect-will-payload",
    "tck-id-operational-behavior-host-application-connect-will-qos",
    "tck-id-operational-behavior-host-application-connect-will-retained",
    "tck-id-payloads-state-will-message",
    "tck-id-payloads-state-will-message-qos",
    "tck-id-payloads-state-will-message-retain",
    "tck-id-host-topic-phid-birth-payload-timestamp",
)
async def test_the_broker_says_it_when_the_host_dies(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer, watching(peer.port) as watcher:
        async with hosting(connector(peer.port)) as host:
            await until(lambda: bool(watcher.of(STATE)))
            host.session._link._client._connection._transport.abort()
            await until(lambda: len(watcher.of(STATE)) == 2)
        born, will = watcher.of(STATE)
        assert will.qos == 1
        assert json.loads(will.payload) == {"online": False, "timestamp": json.loads(born.payload)["timestamp"]}


@pytest.mark.tck("tck-id-message-flow-hid-sparkplug-state-message-delivered")
async def test_a_host_that_is_said_to_be_gone_says_that_it_is_there(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer, watching(peer.port) as watcher, hosting(connector(peer.port)):
        await until(lambda: bool(watcher.of(STATE)))
        born = watcher.of(STATE)[0].payload
        watcher.client.publish(STATE, b'{"online": false, "timestamp": 1}', qos=1, retain=True)
        await until(lambda: [m.payload for m in watcher.of(STATE)][2:3] == [born])


@pytest.mark.tck(
    "tck-id-host-topic-phid-birth-sub-required",
    "tck-id-message-flow-phid-sparkplug-subscription",
    "tck-id-message-flow-phid-sparkplug-clean-session-311",
    "tck-id-message-flow-phid-sparkplug-clean-session-50",
)
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_node_that_waits_for_the_host_finds_it_listening(tmp_path: Path, version: str) -> None:
    """The node publishes its births in the moment in which it sees the STATE; nothing of an older session comes."""
    async with broker(tmp_path) as peer:
        node = EdgeNode(peer.port, *NODE)
        node.client.on_connect = lambda client, *_rest: client.subscribe([(STATE, 1), (node.topic("NCMD"), 1)])
        seen = node.client.on_message
        assert seen is not None

        def on_message(client: object, userdata: object, message: object) -> None:
            if getattr(message, "topic", "") != STATE:
                seen(client, userdata, message)  # type: ignore[arg-type]
            elif json.loads(message.payload)["online"]:  # type: ignore[attr-defined]
                node.births()

        node.client.on_message = on_message
        async with running(node, is_born=False), watching(peer.port, node.topic("NDATA")) as watcher:
            for i in range(2):
                async with hosting(connector(peer.port, version=version)) as host:
                    await host.sees(c__n__count=0, c__n__d1__speed=0.5)
                    assert host.gaps_count == 0
                node.data({"count": 5})  # the host is away, and it must not come later
                node.values["count"] = (DataType.INT32, 0)
                await until(lambda count=i + 1: len(watcher.messages) == count)  # type: ignore[misc]


async def test_a_lost_link_makes_everything_stale_and_births_are_asked_for(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer:
        node = EdgeNode(peer.port, *NODE)
        made = connector(peer.port)
        async with running(node):
            async with hosting(made) as host:
                node.births()
                await host.sees(c__n__count=0, c__n__d1__speed=0.5)
            asked = node.rebirths_count
            async with hosting(made) as host:
                await host.sees(c__n__count=0, c__n__d1__speed=0.5)
                assert [s.quality.label for s in host.of("c/n/count")][:2] == ["BadNoCommunication", "Good"]
                assert node.rebirths_count == asked + 1


async def test_another_host_with_our_client_id_ends_the_session_and_is_told(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer, hosting(connector(peer.port)) as first:
        await asyncio.sleep(0)
        async with hosting(connector(peer.port)):
            await until(lambda: first.session._link.is_lost)


async def test_listed_tags_of_a_node_that_is_not_there_are_bad(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer:
        tags = (Tag("a", "c/n#count"), Tag("b", "c/gone#x"), Tag("c", "c/n/d1#nothing"), Tag("d", "c/n/d9#x"))
        made = connector(peer.port, auto_map=[], birth_timeout="1s")
        async with running(EdgeNode(peer.port, *NODE)), hosting(made, *tags) as host:
            await host.sees(a=0, b="BadNoCommunication", c="BadNodeIdUnknown", d="BadNoCommunication")


async def test_only_the_configured_groups_are_listened_to(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer:
        names = ("Plant 1", "other")
        nodes = [EdgeNode(peer.port, *NODE, group=group) for group in names]
        rule = {"filter": "Plant 1/+/#", "path": "acme/p1/{node}/{device}", "name": "{group}/{metric}"}
        async with (
            running(nodes[0]),
            running(nodes[1]),
            hosting(connector(peer.port, groups=["Plant 1"], auto_map=[rule])) as host,
        ):
            for node in reversed(nodes):  # what is not to be heard is said first
                node.births()
            wanted = {"acme/p1/n:Plant 1/count", "acme/p1/n/d1:Plant 1/speed"}
            # The host may have come between the two births that the node began with.
            await until(lambda: {sample.tag for sample in host.samples} >= wanted)
            assert {sample.tag for sample in host.samples} == wanted
