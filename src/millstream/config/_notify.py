"""The sender's file: which channels there are, and how each is reached."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from millstream.config._finding import Finding
from millstream.config._load import load_file
from millstream.mqtt import BrokerConfig
from millstream.sdk import ConfigPath, Duration, SecretRef, Strict


class ChannelConfig(Strict):
    """What every channel has."""

    again: bool = True
    """Send again what the sender was in the middle of when it was killed. A receiver that knows the id again takes it
    once; with `false` it may be lost instead."""
    give_up: Duration = 3600.0
    """So long a message is tried while the channel cannot be reached; journal and log tell when it is given up."""


class MailChannel(ChannelConfig):
    """E-mail over SMTP."""

    type: Literal["mail"]
    """`mail`."""
    host: str
    """The mail server."""
    port: int = Field(default=587, ge=1, le=65535)
    """Its port."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is secured; `none` only on a machine or network of your own."""
    ca_file: ConfigPath | None = None
    """Authorities in PEM; left out: the system's."""
    user: str | None = None
    """Log in as."""
    password: SecretRef | None = None
    """Its password."""
    sender: str
    """The address that it comes from."""
    to: tuple[str, ...] = Field(min_length=1, max_length=50)
    """The addresses that it goes to."""

    @model_validator(mode="after")
    def _login(self) -> MailChannel:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        if self.user is not None and self.security == "none":
            raise ValueError("a password goes over a secured connection only")
        if any(c in address for address in (self.sender, *self.to) for c in "\r\n"):
            raise ValueError("an address is one line")
        for address in (self.sender, *self.to):
            if not all(parseaddr(address)[1].rpartition("@")):
                raise ValueError(f"not an e-mail address: {address[:80]!r}, expected one such as shift@acme.example")
        return self


class WebhookChannel(ChannelConfig):
    """A POST of JSON."""

    type: Literal["webhook"]
    """`webhook`."""
    url: str = Field(pattern=r"^https?://")
    """Where to."""
    ca_file: ConfigPath | None = None
    """Authorities in PEM; left out: the system's."""
    token: SecretRef | None = None
    """Sent as `Authorization: Bearer`."""


class MqttChannel(ChannelConfig):
    """A message to an MQTT broker, with QoS 1."""

    type: Literal["mqtt"]
    """`mqtt`."""
    broker: BrokerConfig
    """The broker, as for the connector `mqtt`."""
    topic: str = Field(min_length=1, max_length=1000, pattern=r"^[^#+\x00]+$")
    """Where to."""

    @model_validator(mode="after")
    def _has_host(self) -> MqttChannel:
        if not self.broker.host:
            raise ValueError("the broker has a host")
        return self


Channel = Annotated[MailChannel | WebhookChannel | MqttChannel, Field(discriminator="type")]


class NotifierConfig(Strict):
    """The file of `millstream notify`."""

    journal: ConfigPath
    """What was sent, on disk: keep it, it is what makes each message go out once."""
    reads: str = "**:notify/*"
    """Where the notifications stand, as a pattern."""
    channels: Mapping[str, Channel] = Field(min_length=1, max_length=100)
    """Channels by the names that the flow's rules use."""


def load_notifier(path: Path) -> tuple[NotifierConfig | None, list[Finding]]:
    """Load the sender's file; None exactly when there are findings."""

    def check(raw: Any, model: NotifierConfig | None, findings: Any) -> NotifierConfig | None:
        return model

    return load_file(path, NotifierConfig, check)
