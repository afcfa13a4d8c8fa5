"""Configuration of the MQTT connector."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from millstream.kernel import DecodeError
from millstream.model import AssetPath
from millstream.mqtt import BrokerConfig
from millstream.protocols.mqtt_mapping import check_filter, parse_path
from millstream.sdk import Duration, Strict

TimeUnit = Literal["ns", "us", "ms", "s"]


class AutoMap(Strict):
    """Topics that become tags by themselves."""

    filter: str
    """Which topics, e.g. line1/#; the levels before the first wildcard are left out of the tags' names."""
    path: str | None = None
    """The place of the tags, in full, e.g. acme/plant1/line1; left out, the connector's own."""

    @model_validator(mode="after")
    def _parses(self) -> AutoMap:
        try:
            check_filter(self.filter)
            if self.path is not None:
                AssetPath.parse(self.path)
        except DecodeError as error:
            raise ValueError(str(error)) from error
        return self


class MqttConfig(BrokerConfig):
    """Where messages come from, and how they become samples. How a broker is reached counts for source broker only."""

    source: Literal["broker", "stream"]
    """broker connects to an outside broker; stream reads what devices publish on the edge's own listener."""
    persistent: bool = True
    """broker: it keeps the session, so messages with QoS 1 wait there while the edge is away."""
    session_expiry: Duration = 7 * 86_400.0
    """broker, MQTT 5: how long it keeps the session."""
    qos: Literal[0, 1] = 1
    """broker: quality of service asked for; 1 acknowledges a message only once it is stored."""
    in_flight_max: int = Field(default=1000, ge=1, le=65_535)
    """broker, MQTT 5: unacknowledged messages the broker may send. With 3.1.1 this is the broker's own setting."""
    auto_map: tuple[AutoMap, ...] = ()
    """Topics that become tags without being listed under tags."""
    timestamp_path: str | None = None
    """Where a JSON payload has its time, e.g. $.time; left out, samples have no source time."""
    timestamp_unit: TimeUnit = "ns"
    """Unit of that time, counted from 1970 (UTC)."""

    @model_validator(mode="after")
    def _fits(self) -> MqttConfig:
        if self.source == "broker":
            if not self.host:
                raise ValueError("source broker needs 'host'")
            if not self.client_id:
                raise ValueError("source broker needs 'client_id', a name that no other client of the broker has")
        elif self.host is not None:
            raise ValueError("source stream reads the edge's own listener: it has no 'host'")
        _check_path(self.timestamp_path)
        return self


class MqttTagOptions(Strict):
    """Options of one tag."""

    data_type: Literal["auto", "float", "int", "bool", "text", "bytes"] = "auto"
    """What the value is; auto takes it as it is written. bytes takes the whole payload as it is."""
    timestamp_path: str | None = None
    """Where the payload has this tag's time; overrules the connector's."""
    timestamp_unit: TimeUnit | None = None
    """Unit of that time; overrules the connector's."""
    when_missing: Literal["bad", "ignore"] = "bad"
    """A payload without the tag's member gives a sample of bad quality, or none (devices that send what changed)."""

    @model_validator(mode="after")
    def _fits(self) -> MqttTagOptions:
        _check_path(self.timestamp_path)
        return self


def _check_path(text: str | None) -> None:
    if text is None:
        return
    try:
        parse_path(text)
    except DecodeError as error:
        raise ValueError(str(error)) from error
