"""Configuration of the MTConnect connector."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from millstream.sdk import ConfigPath, ConnectorConfig, Duration, Strict


class MTConnectConfig(ConnectorConfig):
    """Where the adapter or agent is, and how to read it."""

    mode: Literal["shdr", "agent"]
    """shdr reads an adapter's socket as it happens; agent asks an HTTP agent, which keeps a buffer and can rewind."""
    host: str | None = None
    """shdr: name or address of the adapter."""
    port: int = Field(default=7878, ge=1, le=65535)
    """shdr: its port."""
    url: str | None = None
    """agent: its address, e.g. http://agent:5000, with the device's name behind it to read one device only."""
    ca_file: ConfigPath | None = None
    """agent with https: certificates to trust instead of the system's."""
    crl_file: ConfigPath | None = None
    """agent with https: which certificates are revoked, PEM, signed by an authority of `ca_file`."""
    devices_file: ConfigPath | None = None
    """shdr: a Devices.xml that says what each data item is and its unit. An agent is asked for it."""
    sequence_item: str | None = None
    """shdr: a data item that counts the adapter's lines 1, 2, 3 ..; what is missing appears as a gap at the source."""
    connect_timeout: Duration = 5.0
    """How long connecting, or one answer of an agent, may take."""
    heartbeat: Duration = 10.0
    """shdr: time between PINGs until the adapter names its own pace."""
    poll_interval: Duration = 0.5
    """agent: pause before asking again when the buffer holds nothing new."""
    count_max: int = Field(default=1000, ge=1, le=100_000)
    """agent: observations of one answer."""
    start: Literal["current", "buffer"] = "current"
    """agent: the first start takes the present values and goes on, or begins with the buffer's oldest."""

    @model_validator(mode="after")
    def _fits(self) -> MTConnectConfig:
        if self.mode == "shdr" and not self.host:
            raise ValueError("mode shdr needs 'host'")
        if self.mode == "agent":
            if not self.url:
                raise ValueError("mode agent needs 'url'")
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"url {self.url!r} is not of the form http://host:5000")
            if parts.username or parts.password:
                raise ValueError("url holds credentials, which a configuration never does")
        return self


class MTConnectTagOptions(Strict):
    """Options of one tag."""

    data_type: Literal["auto", "float", "int", "text"] = "auto"
    """How the text of a value is read; auto goes by the device model, without one numbers are floats."""
