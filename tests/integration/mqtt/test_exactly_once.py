"""A consumer that dies between storing and PUBACK: Mosquitto sends again, and nothing is counted twice or lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from cases.mosquitto_peer import broker, published, publisher

from millstream.connectors.mqtt import BrokerSession, MqttConfig, MqttConnector
from millstream.kernel import PlantError
from millstream.protocols.mqtt_window import StoredPosition
from millstream.sdk import Batch, ConnectorTools, Position, Tag

TAG = Tag("n", "scale/count")
MESSAGES = 400


class Store:
    """What a runtime keeps: values and the position that covers them, at once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.position: Position | None = None

    def commit(self, batch: Batch) -> None:
        """Both or none."""
        self.values += [sample.value for sample in batch.samples]
        assert batch.position is not None
        self.position = batch.position


def connector(port: int, version: str, **config: Any) -> MqttConnector:
    """A new process's connector: it knows nothing but its configuration."""
    settings = {"source": "broker", "host": "127.0.0.1", "port": port, "client_id": "edge1", "version": version}
    return MqttConnector(MqttConfig.model_validate({**settings, **config}), ConnectorTools())


@asynccontextmanager
async def streaming(mqtt: MqttConnector, resume: Position | None) -> AsyncIterator[tuple[BrokerSession, Any]]:
    """An open session and its batches, from the stored position on."""
    async with mqtt.open() as session:
        assert isinstance(session, BrokerSession)
        async with aclosing(session.stream((TAG,), resume)) as batches:
            yield session, batches


async def subscribe(port: int, version: str, client: paho.Client) -> None:
    """Leave a subscription in the broker's session."""
    async with streaming(connector(port, version), None) as (session, batches):
        first = asyncio.ensure_future(anext(batches))
        while not first.done():
            await published(client, "scale/count", b"0")
        await session.ack((await first).position)


async def read_some(port: int, version: str, store: Store, chance: random.Random, *, patience_s: float = 0.4) -> bool:
    """One life of a consumer. It stores batches, and dies before, between or after its acknowledgements.

    False when nothing came for a while.
    """
    lives = chance.randint(1, 6)
    try:
        async with streaming(connector(port, version), store.position) as (session, batches):
            for _ in range(lives):
                batch = await asyncio.wait_for(anext(batches), patience_s)
                if chance.random() < 0.2:
                    return True  # received, not stored
                store.commit(batch)
                if chance.random() < 0.3:
                    return True  # stored, not acknowledged
                await session.ack(batch.position)
                if chance.random() < 0.5:
                    await asyncio.sleep(0.01)
    except (TimeoutError, StopAsyncIteration):
        return False
    except PlantError:
        return True
    return True


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("is_constant", [False, True])
async def test_each_message_is_stored_once_however_often_the_consumer_dies(
    tmp_path: Path, version: str, is_constant: bool
) -> None:
    """Also when all messages are equal, so that only packet identifiers tell them apart."""
    chance = random.Random(11)
    store = Store()
    async with broker(tmp_path) as peer, publisher(peer.port) as client:
        await subscribe(peer.port, version, client)
        wanted = [7 if is_constant else n for n in range(1, MESSAGES + 1)]
        for first in range(0, MESSAGES, 50):
            await published(client, "scale/count", *(str(n).encode() for n in wanted[first : first + 50]))
            await read_some(peer.port, version, store, chance)
        async with asyncio.timeout(120):
            while len([v for v in store.values if v]) < MESSAGES:
                await read_some(peer.port, version, store, chance, patience_s=5.0)
        while await read_some(peer.port, version, store, random.Random(5)):
            pass
    assert [value for value in store.values if value] == wanted


@pytest.mark.needs("mosquitto")
async def test_positions_are_small_while_the_broker_takes_the_acknowledgements(tmp_path: Path) -> None:
    store = Store()
    async with broker(tmp_path) as peer, publisher(peer.port) as client:
        await subscribe(peer.port, "5", client)
        async with streaming(connector(peer.port, "5"), None) as (session, batches):
            for number in range(1, 61):
                await published(client, "scale/count", str(number).encode())
                batch = await asyncio.wait_for(anext(batches), 60)
                store.commit(batch)
                await session.ack(batch.position)
        assert store.position is not None
        decoded = StoredPosition.decode(store.position)
        assert decoded is not None
        assert len(decoded.entries) < 20
        assert [value for value in store.values if value] == list(range(1, 61))


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_message_that_two_filters_take_comes_once(tmp_path: Path, version: str) -> None:
    """A broker may deliver it once for each subscription (MQTT 3.1.1, 3.3.5); Mosquitto does with MQTT 5."""
    filters = [{"filter": text} for text in ("a/+/c", "a/b/+", "a/b/c/#", "x/#")]
    async with broker(tmp_path) as peer, publisher(peer.port) as client:
        mqtt = connector(peer.port, version, auto_map=filters)
        async with mqtt.open() as session, aclosing(session.stream((), None)) as batches:
            first = asyncio.ensure_future(anext(batches))
            while not first.done():
                await published(client, "x/ready", b"0")
            await first
            await published(client, "a/b/c", b"5")
            await published(client, "x/end", b"1")
            found: list[Any] = []
            while not found or found[-1] != 1:
                batch = await asyncio.wait_for(anext(batches), 60)
                found += [sample.value for sample in batch.samples if sample.value]
    assert found == [5, 1]
