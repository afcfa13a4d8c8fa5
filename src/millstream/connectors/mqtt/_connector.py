"""The MQTT connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from millstream.connectors.mqtt._broker_session import BrokerSession, Numbers, open_broker
from millstream.connectors.mqtt._config import MqttConfig, MqttTagOptions
from millstream.connectors.mqtt._listening import find_broker
from millstream.connectors.mqtt._stream_session import StreamSession, open_stream
from millstream.kernel import ConfigError
from millstream.protocols.mqtt_mapping import parse_address, subject_of_topic
from millstream.sdk import (
    ConnectorConfig,
    ConnectorInfo,
    ConnectorTools,
    Discovered,
    DiscoveryInfo,
    DiscoveryTools,
    Place,
    Tag,
    checked_address,
    checked_options,
)

NEXT_STEP = "for many topics at once use 'auto_map'"


class MqttConnector:
    """Takes MQTT messages: from an outside broker, or from the edge's own listener."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="mqtt",
        summary="MQTT messages of an outside broker, or of devices at the edge's own listener",
        spec="MQTT 3.1.1 and 5.0 (OASIS)",
        maturity="gold",
    )
    discovery: ClassVar[DiscoveryInfo] = DiscoveryInfo(
        "a connection without a user, and for the length of the timeout all that is published to anybody", 1883
    )
    Config: ClassVar[type[ConnectorConfig]] = MqttConfig

    def __init__(self, config: MqttConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools
        self._numbers = Numbers()

    def check_tag(self, tag: Tag) -> None:
        """An address is a topic without wildcards, with a JSON path behind it if need be."""
        with checked_address(tag, expected="topic or topic#$.member, e.g. scale/count#$.n", next_step=NEXT_STEP):
            address = parse_address(tag.address)
            if self._config.source == "stream":
                subject_of_topic(address.topic)
        options = checked_options(tag, MqttTagOptions)
        if options.data_type == "bytes" and address.steps is not None:
            raise ConfigError(
                f"tag {tag.key!r} asks for a part of a payload as bytes", got=repr(tag.address), code="MS-0105"
            )

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        """The broker behind an address, and what it publishes. Raises Unreachable, ProtocolViolation."""
        return await find_broker(place, tools)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[BrokerSession | StreamSession]:
        """Connect. Raises Unreachable, AuthError, ConfigError (a secret that cannot be read)."""
        if self._config.source == "stream":
            async with open_stream(self._config, self._tools) as stream:
                yield stream
            return
        async with open_broker(self._config, self._tools, self._numbers) as broker:
            yield broker
