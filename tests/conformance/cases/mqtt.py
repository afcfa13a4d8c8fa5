"""MQTT against Mosquitto, and against a stream as the edge's own listener makes it."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import millstream.connectors.mqtt as package
from cases import mosquitto_peer
from millstream.bus import MemoryReader, MemoryStream
from millstream.connectors.mqtt import MqttConfig, MqttConnector
from millstream.protocols.mqtt_mapping import NATS_MQTT_PREFIX, subject_of_topic
from millstream.sdk import ConnectorTools, Reader, Tag
from millstream.sdk.testing import ConformanceCase, ExpectedValue, NotApplicable, Peer

LONG = "x" * 65_536
TAGS = (Tag("count", "scale/count#$.n"), Tag("state", "scale/state"), Tag("auto", "scale/count#$.time_ns"))
BAD_TAG = Tag("bad", "scale/count#$.nothing_of_the_kind")
EXTREME_VALUES = {
    "nan": math.nan,
    "inf": math.inf,
    "minus_inf": -math.inf,
    "smallest": 5e-324,
    "int_max": 2**63 - 1,
    "int_min": -(2**63),
    "uint_max": 2**64 - 1,
    "empty": "",
    "long": LONG,
    "unicode": "température \u2028 \U0001f3ed",
    "list": [1.5, -2.0, 1e300],
}
EXTREMES = tuple(ExpectedValue(Tag(name, f"extreme#$.{name}"), value) for name, value in EXTREME_VALUES.items())


def messages(number: int) -> list[tuple[str, bytes]]:
    """What the device says next: all tags of the case."""
    found = [
        ("scale/count", json.dumps({"n": number, "time_ns": number * 10**9}).encode()),
        ("scale/state", b"running"),
    ]
    if number % 5 == 1:
        found.append(("extreme", json.dumps(EXTREME_VALUES).encode()))
    return found


@dataclass
class BrokerPeer(Peer):
    """A broker, and a device that publishes there."""

    broker: mosquitto_peer.Mosquitto = field(default=None)  # type: ignore[assignment]
    client: mosquitto_peer.paho.Client = field(default=None)  # type: ignore[assignment]
    produced_count: int = 0

    async def produce(self) -> None:
        """One more of each."""
        self.produced_count += 1
        for topic, payload in messages(self.produced_count):
            self.client.publish(topic, payload, qos=1)

    async def break_link(self) -> None:
        """The broker is gone."""
        await self.broker.stop()

    async def restore_link(self) -> None:
        """It is back."""
        await self.broker.start()

    async def poison(self) -> None:
        """A payload that breaks off."""
        self.client.publish("scale/count", b'{"n": 1', qos=1)

    async def flood(self, limit_bytes: int) -> int:
        """The broker stands between."""
        raise NotApplicable("a broker takes all that devices send; how much it passes on is its own matter")


class BrokerCase(ConformanceCase):
    """An outside broker, MQTT 3.1.1."""

    connector = MqttConnector
    folder: ClassVar[Path] = Path(package.__file__).parent
    needs: ClassVar[Sequence[str]] = ("mosquitto",)
    version: ClassVar[str] = "3.1.1"

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """Mosquitto and a publisher."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            peer = BrokerPeer({}, TAGS, BAD_TAG, EXTREMES)
            peer.broker = await stack.enter_async_context(mosquitto_peer.broker(folder))
            peer.client = await stack.enter_async_context(mosquitto_peer.publisher(peer.broker.port))
            peer.config = {
                "source": "broker",
                "host": "127.0.0.1",
                "port": peer.broker.port,
                "version": self.version,
                "client_id": "conformance",
            }
            yield peer


class Broker5Case(BrokerCase):
    """An outside broker, MQTT 5."""

    version = "5"


class _OwnListener(MqttConnector):
    """The connector with the tools that a node with a listener gives."""

    reader: ClassVar[Reader | None] = None

    def __init__(self, config: MqttConfig, tools: ConnectorTools) -> None:
        super().__init__(config, replace(tools, reader=self.reader, mqtt_stream="E_c_MQTT"))


@dataclass
class StreamPeer(Peer):
    """A stream of what devices published."""

    store: MemoryStream = field(default_factory=lambda: MemoryStream("E_c_MQTT"))
    produced_count: int = 0

    def put(self, topic: str, payload: bytes) -> None:
        """As nats-server stores it."""
        self.store.append(NATS_MQTT_PREFIX + subject_of_topic(topic), payload)

    async def produce(self) -> None:
        """One more of each."""
        self.produced_count += 1
        for topic, payload in messages(self.produced_count):
            self.put(topic, payload)
        self.store.notify()

    async def poison(self) -> None:
        """A payload that breaks off."""
        self.put("scale/count", b'{"n": 1')
        self.store.notify()

    async def flood(self, limit_bytes: int) -> int:
        """The session asks for each list of messages."""
        raise NotApplicable("the session asks the stream for each list of messages, so nothing can pile up")


class StreamCase(ConformanceCase):
    """The edge's own listener."""

    connector = _OwnListener
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A stream that holds something already."""
        peer = StreamPeer({"source": "stream"}, TAGS, BAD_TAG, EXTREMES, samples_count=3 * 60)
        peer.is_endless = True
        for _ in range(60):
            await peer.produce()
        _OwnListener.reader = MemoryReader(peer.store)
        try:
            yield peer
        finally:
            _OwnListener.reader = None


CASES = (BrokerCase(), Broker5Case(), StreamCase())
