"""Devices at the edge's own listener, end to end: the simulated scale, nats-server, the stream, the edge's stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cases.mosquitto_peer import published, publisher

import warm
from millstream.bus import Credentials, MemoryReader, MemoryStream, RawConnection, StreamApi, StreamReader
from millstream.config import InstalledConnectors, load_edge
from millstream.connectors.mqtt import MqttConfig, MqttConnector
from millstream.edge import EdgeNode
from millstream.kernel import ConfigError, Unreachable
from millstream.model import TagPath
from millstream.protocols.ledger import is_ledger_subject
from millstream.protocols.uns_payload import decode_sample
from millstream.protocols.uns_subject import tag_subject
from millstream.sdk import Batch, ConnectorTools, Position, Tag

CONFIG = """
edge: {name: e1, path: acme/plant1, data_dir: data}
server: {mqtt_port: 0}
connectors:
  - name: scale
    type: mqtt
    path: packing/scale1
    durability: integrity
    config: {source: stream, timestamp_path: $.time_ns, auto_map: [{filter: "dev/#"}]}
    tags:
      - {name: scale/count, address: "scale/count#$.n"}
      - {name: scale/weight, address: "scale/weight#$.kg"}
"""
COUNT = tag_subject(TagPath.parse("acme/plant1/packing/scale1:scale/count"))


def edge_node(folder: Path) -> EdgeNode:
    path = folder / "edge.yaml"
    path.write_text(CONFIG)
    config, findings = load_edge(path, InstalledConnectors())
    assert config is not None, findings
    return EdgeNode(config, connectors=InstalledConnectors())


@asynccontextmanager
async def scale(node: EdgeNode, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The simulated device, paused."""
    assert node.server.mqtt_credentials is not None
    user, password = node.server.mqtt_credentials
    (folder / "password").write_text(password)
    process = await asyncio.create_subprocess_exec(
        *warm.python("-m", "millstream.sim.mqtt_plant"), "--port", str(node.server.settings.mqtt_port),
        "--user", user, "--password-file", str(folder / "password"), "--rate", "100",
        "--truth", str(folder / "truth.json"), "--paused", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            ready = json.loads(await process.stdout.readline())
        assert ready["port"] == node.server.settings.mqtt_port
        yield process
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0


async def until(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.02)


async def truth_of(process: asyncio.subprocess.Process, folder: Path) -> dict[str, Any]:
    process.send_signal(signal.SIGUSR1)
    await until((folder / "truth.json").exists)
    document: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    assert document["final"] is True
    return document


def stored(node: EdgeNode) -> int:
    connectors: Any = node.status()["connectors"]
    return int(connectors[0]["samples_stored"])


async def values_of(node: EdgeNode) -> dict[str, list[Any]]:
    """What the edge's stream holds now, by subject."""
    found: dict[str, list[Any]] = {}
    credentials = Credentials(node.server.user, node.server.password)
    async with (
        asyncio.timeout(60),
        RawConnection(node.server.url, credentials=credentials) as connection,
        aclosing(StreamReader(connection).read("E_e1_I")) as lists,
    ):
        last_seq = (await StreamApi(connection).state("E_e1_I")).last_seq
        async for received in lists:
            for item in received:
                if not is_ledger_subject(item.subject) and "._meta." not in item.subject:
                    found.setdefault(item.subject, []).append(decode_sample(item.payload).value)
            if received and received[-1].seq >= last_seq:
                break
    return found


async def test_what_the_scale_had_acknowledged_is_stored_exactly_once_over_a_killed_server(
    tmp_path: Path,
) -> None:
    async with edge_node(tmp_path) as node, scale(node, tmp_path) as process:
        process.send_signal(signal.SIGUSR2)
        await until(lambda: stored(node) > 60)
        first = stored(node)
        assert node.server.pid is not None
        os.kill(node.server.pid, signal.SIGKILL)
        await until(lambda: stored(node) > first + 60)
        truth = await truth_of(process, tmp_path)
        count, resent = truth["produced"]["scale/count"], truth["resent"]
        async with asyncio.timeout(60):  # bad samples and repeats are stored too: how many there are tells nothing
            while count not in (found := await values_of(node)).get(COUNT, []):
                await asyncio.sleep(0.2)
    numbers = Counter(value for value in found[COUNT] if value is not None)
    assert sorted(numbers) == list(range(1, count + 1))
    twice = sum(times - 1 for times in numbers.values())
    assert twice <= resent  # a PUBACK may have been lost with the server: QoS 1


async def test_topics_as_the_server_writes_them_come_back_as_the_device_wrote_them(tmp_path: Path) -> None:
    async with edge_node(tmp_path) as node:
        assert node.server.mqtt_credentials is not None
        assert node.server.settings.mqtt_port is not None
        async with publisher(node.server.settings.mqtt_port, *node.server.mqtt_credentials) as client:
            await published(client, "dev/1.5/t", b"20.5")
            await published(client, "dev/bad", b'{"a": ')
            await published(client, "dev/raw", b"\xff\xfe")
            await published(client, "dev/after", b"1")
        await until(lambda: stored(node) >= 2)
        found = await values_of(node)
        assert len(found) == 2
        status: Any = node.status()["connectors"]
        assert status[0]["frames_quarantined"] == 2
        assert any(subject.endswith(".t") for subject in found)


# -- positions --------------------------------------------------------------------------------------------------------


def session_of(store: MemoryStream) -> MqttConnector:
    config = MqttConfig.model_validate({"source": "stream"})
    return MqttConnector(config, ConnectorTools(reader=MemoryReader(store), mqtt_stream=store.name))


async def read(store: MemoryStream, resume: Position | None, count: int) -> tuple[list[Any], Position | None]:
    found: list[Batch] = []
    tag = Tag("n", "n")
    async with session_of(store).open() as session, aclosing(session.stream([tag], resume)) as stream:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while sum(len(batch.samples) for batch in found) < count:
                    found.append(await anext(stream))
    return [sample.value for batch in found for sample in batch.samples], found[-1].position if found else None


def filled(*numbers: int) -> MemoryStream:
    store = MemoryStream("E_e1_MQTT")
    for number in numbers:
        store.append("$MQTT.msgs.n", str(number).encode())
    return store


async def test_a_resumed_session_starts_right_behind_its_position() -> None:
    store = filled(1, 2, 3)
    values, position = await read(store, None, 3)
    assert values == [1, 2, 3]
    store.append("$MQTT.msgs.n", b"4")
    assert (await read(store, position, 1))[0] == [4]


async def test_a_stream_made_anew_is_read_from_its_beginning() -> None:
    _, position = await read(filled(1, 2, 3), None, 3)
    assert (await read(filled(11, 12, 13, 14), position, 4))[0] == [11, 12, 13, 14]
    assert (await read(filled(21), position, 1))[0] == [21]


async def test_a_position_of_another_source_is_not_taken_for_ours() -> None:
    assert (await read(filled(1), Position(b"7"), 1))[0] == [1]


async def test_without_a_listener_the_edge_says_how_to_open_one() -> None:
    for tools, words in (
        (ConnectorTools(reader=MemoryReader(filled())), "mqtt_port"),
        (ConnectorTools(), "start the edge"),  # as `millstream probe` does it
    ):
        mqtt = MqttConnector(MqttConfig.model_validate({"source": "stream"}), tools)
        with pytest.raises(Unreachable, match=words):
            async with mqtt.open():
                pass


def test_a_tag_that_cannot_be_right_is_told_offline() -> None:
    mqtt = MqttConnector(MqttConfig.model_validate({"source": "stream"}), ConnectorTools())
    for address, options in (
        ("a/+", {}),
        ("a b", {}),
        ("a#b", {}),
        ("a", {"data_type": "x"}),
        ("a#$.b", {"data_type": "bytes"}),
    ):
        with pytest.raises(ConfigError, match="MS-0105"):
            mqtt.check_tag(Tag("k", address, options=options))
