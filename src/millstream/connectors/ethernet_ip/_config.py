"""Configuration of the EtherNet/IP connector."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from millstream.sdk import ConnectorConfig, Duration

_ROUTE = re.compile(r"\d{1,3}/[0-9A-Za-z.\-]+(?:/\d{1,3}/[0-9A-Za-z.\-]+)*\Z", re.ASCII)
LINK_MAX = 255


class EtherNetIpConfig(ConnectorConfig):
    """Where the controller is, and how it is reached behind that address."""

    host: str = Field(min_length=1)
    """Name or address of the controller, or of the communication module in its rack."""
    port: int = Field(default=44818, ge=1, le=65535)
    """Its port."""
    driver: Literal["pylogix", "pycomm3"] = "pylogix"
    """pylogix asks for tags by name; pycomm3 uploads the tag list first and reads whole structures."""
    slot: int = Field(default=0, ge=0, le=LINK_MAX)
    """The controller's slot in the rack; 0 for a CompactLogix."""
    route: str = ""
    """Instead of `slot`: ports and links on the way, e.g. `1/2/2/192.168.5.10/1/0` over another rack's module."""
    micro800: bool = False
    """A Micro800: no rack behind it, and one tag in a request."""
    connection_size: int = Field(default=0, ge=0, le=4002)
    """Bytes of one message; 0 tries 4002 and then 504. Some old modules do not even refuse the large one: set 504."""
    connect_timeout: Duration = 5.0
    """How long connecting may take."""
    timeout: Duration = 3.0
    """How long one answer may take; a later one means that the link is lost."""
    status_interval: Duration = 10.0
    """How often the controller is asked whether its program runs; 0 never."""

    @field_validator("route")
    @classmethod
    def _is_a_route(cls, route: str) -> str:
        if route and not _ROUTE.match(route):
            raise ValueError("a route is port/link/port/link, e.g. 1/2/2/192.168.5.10/1/0")
        for port, link in _pairs(route):
            if int(port) > LINK_MAX or (link.isdecimal() and int(link) > LINK_MAX):
                raise ValueError(f"ports and slots of a route are at most {LINK_MAX}")
        return route

    @field_validator("connection_size")
    @classmethod
    def _is_a_size(cls, size: int) -> int:
        if 0 < size < 100:
            raise ValueError("a connection has at least 100 bytes")
        return size

    def hops(self) -> list[tuple[int, int | str]]:
        """The way behind `host`: port numbers, and slots or addresses. Port 1 is the backplane."""
        if self.micro800:
            return []
        if not self.route:
            return [(1, self.slot)]
        return [(int(port), int(link) if link.isdecimal() else link) for port, link in _pairs(self.route)]


def _pairs(route: str) -> list[tuple[str, str]]:
    parts = route.split("/") if route else []
    return list(zip(parts[::2], parts[1::2], strict=True))
