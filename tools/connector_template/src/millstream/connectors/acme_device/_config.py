"""Configuration of the Acme device connector."""

from __future__ import annotations

from pydantic import Field

from millstream.sdk import ConnectorConfig, Duration


class AcmeDeviceConfig(ConnectorConfig):
    """Where the device is, and how long it may take."""

    host: str = Field(min_length=1)
    """Name or address of the device."""
    port: int = Field(default=9000, ge=1, le=65535)
    """Its port."""
    connect_timeout: Duration = 5.0
    """How long connecting may take."""
    timeout: Duration = 3.0
    """How long one answer may take; a later one means that the link is lost."""
