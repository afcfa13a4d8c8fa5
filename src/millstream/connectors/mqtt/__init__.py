"""MQTT: an outside broker as a client, or what devices publish on the edge's own listener."""

from millstream.connectors.mqtt._broker_session import BrokerSession
from millstream.connectors.mqtt._config import AutoMap, MqttConfig, MqttTagOptions
from millstream.connectors.mqtt._connector import MqttConnector
from millstream.connectors.mqtt._stream_session import StreamPosition, StreamSession

__all__ = [
    "AutoMap",
    "BrokerSession",
    "MqttConfig",
    "MqttConnector",
    "MqttTagOptions",
    "StreamPosition",
    "StreamSession",
]
