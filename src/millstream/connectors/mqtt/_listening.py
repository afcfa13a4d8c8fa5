"""What a broker has: a short, bounded look at its topics, in a clean session of its own forgotten afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from millstream.connectors.mqtt._config import MqttConfig
from millstream.kernel import AuthError, DecodeError, format_duration
from millstream.mqtt import BrokerLink, Incoming, Session
from millstream.protocols.mqtt_mapping import Payload, leaves, member_path
from millstream.sdk import Discovered, DiscoveryTools, NodeInfo, Place

LISTEN_S = 5.0  # of a browse: retained messages come at once, most devices publish every few seconds
EVERYTHING = "#"
TOPICS_COUNT_MAX = 5_000
MESSAGES_COUNT_MAX = 50_000
BYTES_MAX = 16 << 20
PART_COUNT = 500  # messages taken at once
MEMBERS_COUNT_MAX = 200  # of one payload
ROOTS_MAX = 10
TEXT_CHARACTERS_MAX = 200


@dataclass(slots=True)
class Heard:
    """The topics that were heard, each with its last payload."""

    pattern: str
    payloads: dict[str, bytes] = field(default_factory=dict)
    messages_count: int = 0
    bytes_count: int = 0
    is_refused: bool = False

    @property
    def is_full(self) -> bool:
        """Enough was heard."""
        return (
            len(self.payloads) >= TOPICS_COUNT_MAX
            or self.messages_count >= MESSAGES_COUNT_MAX
            or self.bytes_count >= BYTES_MAX
        )

    def take(self, messages: Sequence[Incoming]) -> None:
        """Note them; what is no text has no address."""
        for message in messages:
            if isinstance(message.topic, str) and not self.is_full:
                self.payloads[message.topic] = message.payload
                self.messages_count += 1
                self.bytes_count += len(message.topic) + len(message.payload)


async def listen(config: MqttConfig, pattern: str, for_s: float) -> Heard:
    """Subscribe to `pattern` with QoS 0 for `for_s` seconds at most. Raises Unreachable, AuthError, ConfigError."""
    heard = Heard(pattern)
    link = BrokerLink(config.model_copy(update={"client_id": f"{config.client_id}-look"}), Session())
    try:
        await link.connect()
        link.subscribe([pattern], qos=0)
        with suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                while not heard.is_full and not heard.is_refused:
                    await link.wait(None)
                    heard.is_refused = bool(link.take_refused())
                    heard.take(link.take(PART_COUNT))
                    link.check()
    finally:
        await link.close()
    return heard


async def list_topics(config: MqttConfig, root: str | None) -> AsyncGenerator[NodeInfo, None]:
    """What is published below the filter `root` within `LISTEN_S`: a node for each value of each payload."""
    heard = await listen(config, root or EVERYTHING, LISTEN_S)
    if heard.is_refused:
        raise AuthError("broker refuses the subscription", where=f"{config.host}:{config.port}", got=heard.pattern)
    for topic in sorted(heard.payloads):
        for node in _nodes(topic, heard.payloads[topic]):
            yield node


def _nodes(topic: str, raw: bytes) -> Iterator[NodeInfo]:
    """A JSON object's members each by themselves, anything else as it is."""
    groups = tuple(level for level in topic.split("/") if level)
    if not groups:
        return
    try:
        found = list(zip(range(MEMBERS_COUNT_MAX), leaves(Payload(raw).whole()), strict=False))
    except DecodeError:
        yield NodeInfo(topic, groups[-1], groups[:-1], "bytes")
        return
    for _, (members, value) in found:
        kind = type(value).__name__
        if not members:
            yield NodeInfo(topic, groups[-1], groups[:-1], kind)
        elif (path := member_path(members)) is not None:
            yield NodeInfo(f"{topic}#{path}", members[-1], (*groups, *members[:-1]), kind)


async def find_broker(place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
    """The broker at `place`, and what it publishes to anybody. Raises Unreachable, ProtocolViolation."""
    name = f"millstream-{place.host}-{place.port}"
    settings = {"source": "broker", "host": place.host, "port": place.port, "client_id": name}
    config = MqttConfig.model_validate({**settings, "connect_timeout": format_duration(tools.timeout_s)})
    await tools.turn("connection")
    try:
        await tools.turn("MQTT subscription to all topics")
        heard = await listen(config, EVERYTHING, tools.timeout_s)
    except AuthError as error:
        return [Discovered(str(place), "MQTT broker", settings, {"access": "user and password", "says": error.what})]
    if heard.is_refused:
        return [Discovered(str(place), "MQTT broker", settings, {"access": "refuses subscriptions to all topics"})]
    roots = sorted({topic.split("/")[0] or "/" for topic in heard.payloads})
    facts = {"access": "anybody", "topics": f"{'at least ' if heard.is_full else ''}{len(heard.payloads)}"}
    if roots:
        facts["begin_with"] = _text(", ".join(roots[:ROOTS_MAX])) + (" .." if len(roots) > ROOTS_MAX else "")
    return [Discovered(str(place), "MQTT broker", settings, facts)]


def _text(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:TEXT_CHARACTERS_MAX].strip()
