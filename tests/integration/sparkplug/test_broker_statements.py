"""What Sparkplug asks of brokers (chapter 10), shown of the two that are tested with: Mosquitto, nats-server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cases.mosquitto_peer import broker, publisher
from cases.sparkplug_peer import EdgeNode, end, now_ms, running
from sparkplug_kit import nats_listener, until, watching

from millstream.protocols.sparkplug import DataType
from millstream.protocols.sparkplug_wire import decode_payload

BROKERS = [pytest.param("mosquitto", marks=pytest.mark.needs("mosquitto")), "nats-server"]
CERTIFICATES = "$sparkplug/certificates"


@asynccontextmanager
async def started(kind: str, folder: Path) -> AsyncIterator[int]:
    """A broker's port."""
    if kind == "nats-server":
        async with nats_listener(folder) as port:
            yield port
    else:
        async with broker(folder) as peer:
            yield peer.port


@pytest.mark.tck("tck-id-conformance-mqtt-qos1", "tck-id-conformance-mqtt-aware-basic")
@pytest.mark.parametrize("kind", BROKERS)
async def test_a_broker_takes_and_gives_qos_1(tmp_path: Path, kind: str) -> None:
    async with started(kind, tmp_path) as port, watching(port, "s/#") as watcher, publisher(port) as client:
        sent = client.publish("s/one", b"x", qos=1)
        await until(sent.is_published, "no PUBACK")
        await until(lambda: bool(watcher.messages))
        assert [(m.topic, m.payload, m.qos) for m in watcher.messages] == [("s/one", b"x", 1)]


@pytest.mark.tck("tck-id-conformance-mqtt-retained", "tck-id-conformance-mqtt-aware-basic")
@pytest.mark.parametrize("kind", BROKERS)
async def test_a_broker_keeps_what_is_retained_until_it_is_cleared(tmp_path: Path, kind: str) -> None:
    async with started(kind, tmp_path) as port, publisher(port) as client:
        for payload in (b"old", b"new"):
            await until(client.publish("s/state", payload, qos=1, retain=True).is_published)
        async with watching(port, "s/#") as late:
            await until(lambda: bool(late.messages))
            assert [(m.payload, m.retain) for m in late.messages] == [(b"new", True)]
        await until(client.publish("s/state", b"", qos=1, retain=True).is_published)
        async with watching(port, "s/#") as later:
            await until(client.publish("s/end", b"!", qos=1).is_published)
            await until(lambda: bool(later.of("s/end")))
            assert [m.topic for m in later.messages] == ["s/end"]


@pytest.mark.tck("tck-id-conformance-mqtt-will-messages", "tck-id-conformance-mqtt-aware-basic")
@pytest.mark.parametrize("kind", BROKERS)
async def test_a_broker_sends_a_will_with_its_qos_and_keeps_a_retained_one(tmp_path: Path, kind: str) -> None:
    async with started(kind, tmp_path) as port, watching(port, "s/#") as watcher:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="dying")
        client.will_set("s/will", b"gone", qos=1, retain=True)
        client.reconnect_delay_set(3600, 3600)
        await asyncio.to_thread(client.connect, "127.0.0.1", port)
        client.loop_start()
        try:
            await until(client.is_connected)
            sock = client.socket()
            assert sock is not None
            sock.shutdown(socket.SHUT_RDWR)
            await until(lambda: bool(watcher.messages))
        finally:
            await end(client)
        assert [(m.topic, m.payload, m.qos) for m in watcher.messages] == [("s/will", b"gone", 1)]
        async with watching(port, "s/will") as late:
            await until(lambda: bool(late.messages))
            assert late.messages[0].retain


@pytest.mark.tck(
    "tck-id-conformance-mqtt-aware-store",
    "tck-id-conformance-mqtt-aware-nbirth-mqtt-topic",
    "tck-id-conformance-mqtt-aware-nbirth-mqtt-retain",
    "tck-id-conformance-mqtt-aware-dbirth-mqtt-topic",
    "tck-id-conformance-mqtt-aware-dbirth-mqtt-retain",
)
async def test_nats_server_keeps_the_births_of_nodes_and_devices(tmp_path: Path) -> None:
    node = EdgeNode(0, {"count": (DataType.INT32, 0)}, {"speed": (DataType.DOUBLE, 0.5)})
    async with nats_listener(tmp_path) as port, watching(port) as watcher:
        node.port = port
        async with running(node):
            await until(lambda: bool(watcher.of("/DBIRTH/")))
            async with watching(port, f"{CERTIFICATES}/#") as late:
                await until(lambda: len(late.messages) == 2)
                found = {m.topic: (m.payload, m.retain) for m in late.messages}
        births = {m.topic: m.payload for m in watcher.messages if "BIRTH" in m.topic}
    assert found == {f"{CERTIFICATES}/{topic}": (payload, True) for topic, payload in births.items()}


@pytest.mark.tck("tck-id-conformance-mqtt-aware-ndeath-timestamp")
async def test_nats_server_gives_a_death_the_time_at_which_it_happened(tmp_path: Path) -> None:
    node = EdgeNode(0, {"count": (DataType.INT32, 0)}, {})
    async with nats_listener(tmp_path) as port, watching(port) as watcher:
        node.port = port
        async with running(node):
            await until(lambda: bool(watcher.of("/NBIRTH/")))
            node.client.reconnect_delay_set(3600, 3600)
            sock = node.client.socket()
            assert sock is not None
            before_ms = now_ms()
            sock.shutdown(socket.SHUT_RDWR)
            await until(lambda: bool(watcher.of("/NDEATH/")))
        death = decode_payload(watcher.of("/NDEATH/")[0].payload)
    assert death.timestamp_ms is not None
    assert death.timestamp_ms >= before_ms  # the will was made when the node connected
