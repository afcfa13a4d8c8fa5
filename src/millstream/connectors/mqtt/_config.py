"""Configuration of the MQTT connector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from millstream.kernel import DecodeError
from millstream.model import AssetPath
from millstream.protocols.mqtt_mapping import check_filter, parse_path
from millstream.sdk import ConfigPath, ConnectorConfig, Duration, SecretRef

Version = Annotated[Literal["3.1.1", "5"], BeforeValidator(lambda value: str(value))]
TimeUnit = Literal["ns", "us", "ms", "s"]


class AutoMap(BaseModel):
    """Topics that become tags by themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

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


class MqttConfig(ConnectorConfig):
    """Where messages come from, and how they become samples."""

    source: Literal["broker", "stream"]
    """broker connects to an outside broker; stream reads what devices publish on the edge's own listener."""
    host: str | None = None
    """broker: its name or address."""
    port: int = Field(default=1883, ge=1, le=65535)
    """broker: its port; with TLS often 8883."""
    version: Version = "3.1.1"
    """broker: MQTT 3.1.1 or 5."""
    client_id: str | None = None
    """broker: this client's name there. No two clients may share it: the broker would cut one off for the other."""
    user: str | None = None
    """broker: user name."""
    secret: SecretRef | None = None
    """broker: the password, by reference."""
    tls: bool = False
    """broker: encrypt, and check the broker's certificate."""
    ca_file: ConfigPath | None = None
    """broker: certificates to trust instead of the system's."""
    certificate: ConfigPath | None = None
    """broker: our certificate, PEM, for brokers that ask for one."""
    key: ConfigPath | None = None
    """broker: its private key, PEM without a password; left out, it stands in the certificate's file."""
    crl_file: ConfigPath | None = None
    """broker: list of revoked certificates, PEM, from the authority in `ca_file`."""
    persistent: bool = True
    """broker: it keeps the session, so messages with QoS 1 wait there while the edge is away."""
    session_expiry: Duration = 7 * 86_400.0
    """broker, MQTT 5: how long it keeps the session."""
    qos: Literal[0, 1] = 1
    """broker: quality of service asked for; 1 acknowledges a message only once it is stored."""
    in_flight_max: int = Field(default=1000, ge=1, le=65_535)
    """broker, MQTT 5: unacknowledged messages the broker may send. With 3.1.1 this is the broker's own setting."""
    keepalive: Duration = Field(default=30.0, ge=1.0, le=65_535.0)
    """broker: time between signs of life; twice as long without one and the link counts as lost."""
    connect_timeout: Duration = 5.0
    """broker: how long connecting and subscribing may take."""
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
            if self.secret is not None and not self.user:
                raise ValueError("'secret' needs 'user'")
            if not self.tls and (self.ca_file or self.certificate or self.key or self.crl_file):
                raise ValueError("certificates need 'tls: true'")
            if self.key is not None and self.certificate is None:
                raise ValueError("'key' needs 'certificate'")
        elif self.host is not None:
            raise ValueError("source stream reads the edge's own listener: it has no 'host'")
        _check_path(self.timestamp_path)
        return self


class MqttTagOptions(BaseModel):
    """Options of one tag."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

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
