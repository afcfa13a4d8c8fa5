"""Configuration of the IO-Link connector."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from millstream.sdk import ConfigPath, ConnectorConfig, Duration, SecretRef, Strict


class IoLinkConfig(ConnectorConfig):
    """Which master, and how it speaks."""

    url: str
    """The master's address: http://192.0.2.50/iolink/v1 for json, http://192.0.2.50 for iotcore."""
    dialect: Literal["json", "iotcore"] = "json"
    """json: the JSON Integration of the IO-Link Community; iotcore: data points of an IoT core (getdatamulti)."""
    user: str | None = None
    """User, if the master asks for one."""
    secret: SecretRef | None = None
    """The user's password, by reference."""
    ca_file: ConfigPath | None = None
    """https: certificates to trust instead of the system's."""
    crl_file: ConfigPath | None = None
    """https: which certificates are revoked, PEM, signed by an authority of `ca_file`."""
    timeout: Duration = Field(default=3.0, gt=0, le=25)
    """How long one answer may take."""
    iodd_folder: ConfigPath | None = None
    """Folder with device descriptions (IODD, .xml): `browse` and `onboard` list fields with names, units and scales."""
    ports: int = Field(default=8, ge=1, le=32)
    """How many ports `millstream browse` looks at; reading does not need it."""

    @model_validator(mode="after")
    def _fits(self) -> IoLinkConfig:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("url is not of the form http://192.0.2.50/iolink/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url holds credentials, which a configuration never does: use 'user' and 'secret'")
        if (self.user is None) != (self.secret is None):
            raise ValueError("give both 'user' and 'secret', or none")
        return self


class IoLinkTagOptions(Strict):
    """Options of one tag."""

    smart_sensor: bool = False
    """The device has the Smart Sensor Profile: its numbers for "no data" and "out of range" are bad quality."""
