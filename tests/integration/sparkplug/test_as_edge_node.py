"""This edge as an edge node: what is stored reaches a host application, over lost links and an absent host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases.mosquitto_peer import broker
from cases.sparkplug_peer import EdgeNode as FieldNode
from cases.sparkplug_peer import running
from sparkplug_kit import ForeignCodec, connector, hosting, until, watching
from test_in_an_edge import CONFIG as HOST_CONFIG

from millstream.bus import MemoryReader, MemoryStream
from millstream.config import InstalledConnectors, load_edge
from millstream.connectors.sparkplug import SparkplugConfig, SparkplugConnector
from millstream.connectors.sparkplug._node_session import NodeSession
from millstream.edge import EdgeNode
from millstream.kernel import PlantError, Unreachable
from millstream.model import Block, TagPath
from millstream.protocols.sparkplug import DataType
from millstream.protocols.sparkplug_wire import decode_payload
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block, encode_sample
from millstream.protocols.uns_subject import tag_subject
from millstream.sdk import ConnectorTools, Position

pytestmark = pytest.mark.needs("mosquitto")
T0_MS = 1_700_000_000_000


class Store:
    """An edge's stream on paper."""

    def __init__(self) -> None:
        self.stream = MemoryStream("E_x_I")

    def put(self, tag: str, value: Any, after_ms: int = 0, quality: int = 0) -> None:
        """One sample."""
        time_ns = (T0_MS + after_ms) * 1_000_000
        payload = encode_sample(value, quality=quality, source_time_ns=time_ns, ingest_time_ns=time_ns)
        self.stream.append(tag_subject(TagPath.parse(tag)), payload)
        self.stream.notify()

    def make(self, port: int, **config: Any) -> SparkplugConnector:
        """The connector that publishes it."""
        whole = {"role": "edge_node", "host": "127.0.0.1", "port": port, "client_id": "node1", "group": "up"}
        whole |= {"node": "e1", "base": "acme/plant1", **config}
        tools = ConnectorTools(reader=MemoryReader(self.stream), streams=("E_x_I",))
        return SparkplugConnector(SparkplugConfig.model_validate(whole), tools)


class Publishing:
    """The session at work; `position` is the last one."""

    session: NodeSession
    task: asyncio.Task[None]
    position: Position | None = None
    error: BaseException | None = None


@asynccontextmanager
async def publishing(made: SparkplugConnector, resume: Position | None = None) -> AsyncIterator[Publishing]:
    """As the runtime would."""
    at = Publishing()
    at.position = resume

    async def follow() -> None:
        """Until the link is lost."""
        async with made.open() as session:
            assert isinstance(session, NodeSession)
            at.session = session
            async with aclosing(session.stream((), resume)) as stream:
                async for batch in stream:
                    at.position = batch.position or at.position

    task = at.task = asyncio.create_task(follow())
    try:
        yield at
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            at.error = task.exception()
            assert isinstance(at.error, PlantError), repr(at.error)


@pytest.mark.tck("tck-id-message-flow-edge-node-birth-publish-connect")
async def test_what_is_stored_reaches_a_host_by_device_and_name(tmp_path: Path) -> None:
    store = Store()
    store.put("acme/plant1:site/power", 1.5)
    store.put("acme/plant1/press/axis:drive/speed", 10)
    store.put("acme/plant2/press:elsewhere", 1)
    async with broker(tmp_path) as peer, hosting(connector(peer.port)) as host:
        async with publishing(store.make(peer.port)) as at:
            await host.sees(up__e1__site__power=1.5, up__e1__press__axis__drive__speed=10)
            store.put("acme/plant1/press/axis:drive/speed", None, 5, quality=0x80310000)
            await host.sees(up__e1__press__axis__drive__speed="BadNoCommunication")  # DDEATH
            times = np.array([T0_MS + i for i in range(10, 15)]) * 1_000_000
            block = encode_block(Block("t", times, [1, 2, 3, 4, 5]), ingest_time_ns=1)
            headers = f"NATS/1.0\r\nContent-Type: {ARROW_TYPE}\r\n\r\n".encode()
            store.stream.append(tag_subject(TagPath.parse("acme/plant1/press/axis:drive/speed")), block, headers)
            store.put("acme/plant1/press:text", "new", 20)  # a metric that no birth had yet
            await host.sees(up__e1__press__axis__drive__speed=5, up__e1__press__text="new")
            await until(lambda: {1, 2, 3, 4, 5} <= {s.value for s in host.of("up/e1/press/axis/drive/speed")})
            await until(lambda: at.position == b"6 E_x_I")
        await host.sees(up__e1__site__power="BadNoCommunication", up__e1__press__text="BadNoCommunication")
        assert not any("elsewhere" in sample.tag for sample in host.samples)
        assert not host.frames_bad


async def test_a_link_that_breaks_again_and_again_loses_no_value(tmp_path: Path) -> None:
    store = Store()
    async with broker(tmp_path) as peer, hosting(connector(peer.port)) as host:
        made, position, count = store.make(peer.port), None, 0
        for _ in range(4):
            async with publishing(made, position) as at:
                for _ in range(50):
                    count += 1
                    store.put("acme/plant1/m:n", count, count)
                    await asyncio.sleep(0)
                await until(lambda: bool(host.of("up/e1/m/n")) and hasattr(at, "session"))
                at.session._link._client._connection._transport.abort()
            assert isinstance(at.error, Unreachable | None)
            position = at.position
        async with publishing(made, position) as at:
            await until(lambda: at.position == f"{count} E_x_I".encode())
            await until(lambda: count in {s.value for s in host.of("up/e1/m/n")})
        seen = {(s.value, s.source_time_ns) for s in host.of("up/e1/m/n") if s.value is not None}
    assert seen >= {(i, (T0_MS + i) * 1_000_000) for i in range(1, count + 1)}  # and what held again after a death


async def test_a_thousand_values_wait_for_the_primary_host(tmp_path: Path) -> None:
    store = Store()
    for i in range(1, 1001):
        store.put("acme/plant1/m:n", i, i)
    async with broker(tmp_path) as peer, watching(peer.port, "spBv1.0/up/#") as watcher:
        made = store.make(peer.port, primary_host="host1")
        async with publishing(made) as at:
            await until(lambda: hasattr(at, "session"))
            async with hosting(connector(peer.port)) as host:
                await until(lambda: at.position == b"1000 E_x_I")
                await until(lambda: len({s.value for s in host.of("up/e1/m/n")}) == 1000)
                history = [s.value for s in host.of("up/e1/m/n")]
                assert history in ([1000, *range(1, 1000)], [*range(1, 1001)])
                assert host.gaps_count == 0
            await until(lambda: bool(watcher.of("NDEATH")))  # the host has gone, and said so
            await until(at.task.done)  # the death is on the wire before the session has ended
        assert isinstance(at.error, Unreachable)
        kinds = [m.topic.split("/")[2] for m in watcher.messages]
        assert kinds[0] == "NBIRTH"
        assert kinds[-1] == "NDEATH"
        assert decode_payload(watcher.messages[0].payload).seq == 0


@pytest.mark.needs("sparkplug-payload")
async def test_npm_sparkplug_payload_reads_what_we_publish(tmp_path: Path, foreign_codec: ForeignCodec) -> None:
    store = Store()
    store.put("acme/plant1:power", 1.5)
    store.put("acme/plant1/press:on", True)
    async with broker(tmp_path) as peer, watching(peer.port, "spBv1.0/up/#") as watcher:
        async with publishing(store.make(peer.port)):
            await until(lambda: bool(watcher.of("/DBIRTH/")))
            store.put("acme/plant1/press:on", False, 5)
            await until(lambda: bool(watcher.of("/DDATA/")))
        found = {m.topic.split("/")[2]: foreign_codec.decode(m.payload) for m in watcher.messages}
    metrics = {m["name"]: (m["type"], m["value"]) for m in found["NBIRTH"]["metrics"]}
    assert metrics == {
        "bdSeq": ("Int64", {"long": "0"}),
        "Node Control/Rebirth": ("Boolean", False),
        "power": ("Double", 1.5),
    }
    assert [(m["name"], m["value"]) for m in found["DBIRTH"]["metrics"]] == [("on", True)]
    assert found["DDATA"]["metrics"][0]["alias"] == found["DBIRTH"]["metrics"][0]["alias"]
    assert found["NDEATH"]["metrics"][0]["value"] == {"long": "0"}


async def test_a_running_edge_publishes_its_namespace_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    role = "role: edge_node, group: up, node: e1, base: acme/plant1"
    async with broker(tmp_path) as peer, hosting(connector(peer.port, groups=["up"])) as host:
        fleet = HOST_CONFIG.format(port=peer.port)
        upward = f"config: {{host: 127.0.0.1, port: {peer.port}, client_id: up1, {role}}}\n"
        upward = f"  - name: upward\n    type: sparkplug\n    {upward}"
        (tmp_path / "edge.yaml").write_text(fleet + upward)
        config, findings = load_edge(tmp_path / "edge.yaml", InstalledConnectors())
        assert config is not None, findings
        count = 0
        for _ in range(2):
            speed = {"speed": (DataType.DOUBLE, count / 2)}
            field = FieldNode(peer.port, {"count": (DataType.INT32, count)}, speed)
            async with EdgeNode(config, connectors=InstalledConnectors()) as node, running(field):
                await host.sees(up__e1__line__listed=count, up__e1__n__d1__speed=count / 2)
                for _ in range(100):
                    count += 1
                    field.data({"count": count})
                    field.data({"speed": count / 2}, "d1")
                await host.sees(up__e1__line__listed=count, up__e1__n__d1__speed=count / 2)
                assert node.status()["alarms"] == []
        seen = [s.value for s in host.of("up/e1/n/d1/speed") if s.value is not None]
    assert {i / 2 for i in range(1, count + 1)} <= set(seen)
