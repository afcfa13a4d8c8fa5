"""What brokers do to a host application: nats-server's listener with its limits, floods, retained births."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing
from pathlib import Path

import pytest
from cases.mosquitto_peer import broker
from cases.sparkplug_peer import EdgeNode, now_ms, running
from sparkplug_kit import connector, hosting, nats_listener, until, watching

from millstream.kernel import AuthError, Unreachable
from millstream.mqtt import INBOX_BYTES_MAX, INBOX_MESSAGES_MAX
from millstream.protocols.sparkplug import DataType, Payload
from millstream.protocols.sparkplug_wire import encode_payload

NODE = ({"count": (DataType.INT32, 0), "text": (DataType.STRING, "")}, {"speed": (DataType.DOUBLE, 0.5)})


@pytest.mark.tck("tck-id-conformance-mqtt-qos0", "tck-id-conformance-mqtt-will-messages")
async def test_nodes_at_nats_servers_listener_are_followed_to_their_will(tmp_path: Path) -> None:
    async with nats_listener(tmp_path) as port, hosting(connector(port)) as host:
        node = EdgeNode(port, *NODE)
        async with running(node):
            await host.sees(c__n__count=0, c__n__d1__speed=0.5)
            node.data({"count": -3})
            node.data({"speed": 2.5}, "d1")
            await host.sees(c__n__count=-3, c__n__d1__speed=2.5)
            sock = node.client.socket()
            assert sock is not None
            node.client.reconnect_delay_set(3600, 3600)
            sock.shutdown(socket.SHUT_RDWR)
            await host.sees(c__n__count="BadNoCommunication", c__n__d1__speed="BadNoCommunication")


async def test_a_takeover_without_a_will_is_seen_by_the_new_birth(tmp_path: Path) -> None:
    async with nats_listener(tmp_path) as port, hosting(connector(port)) as host:
        old, new = EdgeNode(port, *NODE), EdgeNode(port, *NODE)
        new.bd_seq, new.device_values = 6, {}
        async with running(old):
            await host.sees(c__n__count=0, c__n__d1__speed=0.5)
            old.client.reconnect_delay_set(3600, 3600)
            new.births = lambda: new.send("NBIRTH", (new._bd(), *new.metrics(new.values, 1)))  # type: ignore[method-assign]
            async with running(new):
                await host.sees(c__n__count=0, c__n__d1__speed="BadNoCommunication")


@pytest.mark.tck(
    "tck-id-conformance-mqtt-aware-store",
    "tck-id-conformance-mqtt-aware-nbirth-mqtt-topic",
    "tck-id-conformance-mqtt-aware-nbirth-mqtt-retain",
)
async def test_births_that_the_broker_keeps_tell_a_new_host_whom_to_ask(tmp_path: Path) -> None:
    async with nats_listener(tmp_path) as port:
        node = EdgeNode(port, *NODE)
        async with watching(port) as watcher, running(node):
            await until(lambda: bool(watcher.of("/DBIRTH/")))
            async with hosting(connector(port)) as host:  # the node says nothing by itself
                await host.sees(c__n__count=0, c__n__d1__speed=0.5)
                assert node.rebirths_count == 1


@pytest.mark.needs("mosquitto")
async def test_a_retained_birth_of_a_node_that_is_gone_makes_nothing_alive(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer:
        node = EdgeNode(peer.port, *NODE)
        async with watching(peer.port) as watcher:
            raw = encode_payload(Payload(now_ms(), (node._bd(), *node.metrics(node.values, 1)), 0))
            watcher.client.publish(node.topic("NBIRTH"), raw, retain=True).wait_for_publish()
            await until(lambda: bool(watcher.of("/NBIRTH/")))
            async with hosting(connector(peer.port)) as host:
                await until(lambda: bool(watcher.of("/NCMD/n")))
                assert host.samples == []


@pytest.mark.needs("mosquitto")
async def test_a_host_that_nobody_reads_takes_a_bounded_amount_and_counts_what_the_broker_drops(
    tmp_path: Path,
) -> None:
    async with broker(tmp_path) as peer:
        made = connector(peer.port, auto_map=[{"filter": "c/n"}])
        node = EdgeNode(peer.port, *NODE)
        async with made.open() as session, aclosing(session.stream((), None)) as stream:
            first = asyncio.ensure_future(anext(stream))
            await until(lambda: session._is_born)
            async with running(node):
                await first
                for i in range(4_000):
                    node.data({"text": f"{i:05}" + "x" * 16_000})
                node.data({"count": 1})
                await until(lambda: session._link.is_held)
                await until(lambda: not node.client.want_write())
                assert session._link.inbox_bytes < INBOX_BYTES_MAX + (1 << 20)
                assert session._link.inbox_count <= INBOX_MESSAGES_MAX + 100
                taken = gaps = 0
                async with asyncio.timeout(60):
                    while not gaps:
                        batch = await anext(stream)
                        taken += sum(1 for s in batch.samples if s.tag == "text" and s.value)
                        gaps += session.take_source_gaps()
                        node.data({"count": 1})  # shows that something is missing before it
                assert 0 < taken < 4_000


async def test_a_broker_that_does_not_let_us_listen_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER", "right")
    rights = 'permissions: {subscribe: {deny: ["spBv1//0.>"]}}'
    users = f'authorization {{ users: [ {{user: "edge", password: "right", {rights}}} ] }}'
    async with (
        nats_listener(tmp_path, users) as port,
        connector(port, user="edge", secret={"env": "BROKER"}).open() as session,
        aclosing(session.stream((), None)) as stream,
    ):
        with pytest.raises(AuthError, match="subscribe"):
            async with asyncio.timeout(60):
                await anext(stream)


@pytest.mark.needs("mosquitto")
async def test_a_wrong_password_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER", "wrong")
    async with broker(tmp_path, password="right") as peer:
        made = connector(peer.port, user="edge", secret={"env": "BROKER"})
        with pytest.raises(AuthError, match="MS-0201"):
            async with made.open():
                pass


@pytest.mark.tck(
    "tck-id-message-flow-phid-sparkplug-clean-session-311",
    "tck-id-message-flow-phid-sparkplug-clean-session-50",
    "tck-id-principles-persistence-clean-session-311",
    "tck-id-principles-persistence-clean-session-50",
)
@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("role", ["host", "edge_node"])
async def test_each_session_is_clean_with_a_will_of_qos_1(version: str, role: str) -> None:
    packets: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Note the CONNECT, then close."""
        packets.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        made = connector(port, version=version, role=role, group="g", node="n", base="acme")
        with pytest.raises(Unreachable):
            async with made.open():
                pass
    (packet,) = packets
    level, flags = packet[8], packet[9]  # behind the fixed header of two bytes and the protocol's name
    assert packet[0] == 0x10
    assert level == (5 if version == "5" else 4)
    assert flags & 0b10  # clean
    assert flags & 0b11100 == 0b01100  # a will, QoS 1
    assert bool(flags & 0b100000) is (role == "host")  # STATE is retained, NDEATH is not
    if version == "5":
        assert packet[12] == 0  # no properties: the session ends with the connection
