"""Configuration of the BACnet connector."""

from __future__ import annotations

import ipaddress
from typing import Self

from pydantic import Field, field_validator, model_validator

from millstream.protocols.bacnet_plan import INSTANCE_MAX, PlanLimits
from millstream.sdk import ConnectorConfig, Duration, Strict

APDU_BYTES_MAX = 1476  # of BACnet/IP, ASHRAE 135-2020, clause 6


class BacnetConfig(ConnectorConfig):
    """Which device, and how it is asked."""

    host: str = ""
    """Name or address of the device; empty: it is looked for by `device_id`, which needs `bind` or `bbmd`."""
    port: int = Field(default=47808, ge=1, le=65535)
    """Its UDP port, also of the devices that are looked for."""
    device_id: int | None = Field(default=None, ge=0, le=INSTANCE_MAX)
    """The device's instance number; with `host` it is compared."""
    bind: str = ""
    """Own address, prefix and port, e.g. `192.168.5.2/24:47808`; empty: the one that leads to `host`, any free port."""
    bbmd: str = ""
    """A BBMD of another subnet, e.g. `192.168.7.1:47808`: the edge registers there as a foreign device, and
    `device_id` is looked for through it."""
    bbmd_lifetime: Duration = Field(default=60.0, ge=10.0, le=65535.0)
    """How long the BBMD keeps the registration; it is renewed at its end."""
    timeout: Duration = 3.0
    """How long one answer may take."""
    retries: int = Field(default=2, ge=0, le=10)
    """How often a request is sent again before the device counts as lost."""
    find_timeout: Duration = 5.0
    """How long a device may take to say that it is there."""
    cov: bool = True
    """Subscribe to changes where the device offers it."""
    cov_lifetime: Duration = Field(default=300.0, ge=2.0, le=86400.0)
    """How long the device keeps a subscription; it is renewed at half of that."""
    cov_confirmed: bool = True
    """Changes are acknowledged, so that the device sends a lost one again."""
    watchdog: Duration = Field(default=60.0, ge=0.1)
    """How often subscribed values are read all the same, since subscriptions are forgotten silently."""
    priority: int = Field(default=16, ge=1, le=16)
    """Priority of writes for tags that name none; 1 is the highest and for life safety."""
    apdu_bytes_max: int = Field(default=APDU_BYTES_MAX, ge=50, le=APDU_BYTES_MAX)
    """Bytes of one answer; less when something on the way takes less, e.g. 480 behind an MS/TP router."""
    properties_count_max: int = Field(default=100, ge=1, le=500)
    """Properties of one request."""

    @field_validator("bind")
    @classmethod
    def _is_an_interface(cls, bind: str) -> str:
        if bind:
            address, _, port = bind.partition(":")
            interface = ipaddress.IPv4Interface(address)
            if interface.ip.is_unspecified or not (port == "" or (port.isdecimal() and int(port) <= 65535)):
                raise ValueError("bind is an address of this machine, e.g. 192.168.5.2/24:47808")
        return bind

    @field_validator("bbmd")
    @classmethod
    def _is_an_address(cls, bbmd: str) -> str:
        if bbmd:
            address, _, port = bbmd.partition(":")
            ipaddress.IPv4Address(address)
            if not (port == "" or (port.isdecimal() and 0 < int(port) <= 65535)):
                raise ValueError("bbmd is an address with its port, e.g. 192.168.7.1:47808")
        return bbmd

    @model_validator(mode="after")
    def _says_which_device(self) -> Self:
        if not self.host and (self.device_id is None or not (self.bind or self.bbmd)):
            raise ValueError("give `host`, or `device_id` and `bind` or `bbmd` to look for the device")
        return self

    @property
    def bbmd_tuple(self) -> tuple[str, int] | None:
        """Address and port of the BBMD; 47808 is the registered port."""
        address, _, port = self.bbmd.partition(":")
        return (address, int(port or 47808)) if address else None

    @property
    def where(self) -> str:
        """The device in messages."""
        return f"{self.host}:{self.port}" if self.host else f"device {self.device_id}"

    def limits(self, device_bytes_max: int) -> PlanLimits:
        """What the planner may put into one request to a device that takes `device_bytes_max`."""
        return PlanLimits(min(self.apdu_bytes_max, max(50, device_bytes_max)), self.properties_count_max)


class BacnetTagOptions(Strict):
    """Options of one tag."""

    priority: int | None = Field(default=None, ge=1, le=16)
    """Priority of its writes, when it is not the connector's."""
    cov: bool = True
    """False: this tag is read at its sampling interval although the device would report changes."""
