"""The BACnet connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from millstream.connectors.bacnet._config import BacnetConfig, BacnetTagOptions
from millstream.protocols.bacnet_plan import parse_address
from millstream.sdk import (
    ConnectorConfig,
    ConnectorInfo,
    ConnectorTools,
    Discovered,
    DiscoveryInfo,
    DiscoveryTools,
    Place,
    Tag,
    checked_options,
    needs_extra,
)

if TYPE_CHECKING:
    from millstream.connectors.bacnet._session import BacnetSession


class BacnetConnector:
    """Subscribes, reads and writes the properties of one device by BACnet/IP."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="bacnet",
        summary="BACnet/IP: changes by subscription, many properties in one request, writes with priority",
        spec="ANSI/ASHRAE 135-2020 (ISO 16484-5), annex J",
        maturity="silver",
        notices_loss=True,
    )
    discovery: ClassVar[DiscoveryInfo] = DiscoveryInfo("Who-Is to each address, number and names of the device", 47808)
    Config: ClassVar[type[ConnectorConfig]] = BacnetConfig
    TagOptions: ClassVar[type[BacnetTagOptions]] = BacnetTagOptions

    def __init__(self, config: BacnetConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools

    def check_tag(self, tag: Tag) -> None:
        """Raise ConfigError when the address is outside the grammar, or an option is wrong."""
        parse_address(tag.address)
        checked_options(tag, BacnetTagOptions, "MS-1401")

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        """Who a device says it is. Raises Unreachable."""
        with needs_extra("the BACnet connector", "bacnet"):
            from millstream.connectors.bacnet._discovery import find_device
        return await find_device(place, tools)

    def open(self) -> AbstractAsyncContextManager[BacnetSession]:
        """Bind, find the device and ask who it is; on exit close. Raises Unreachable."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[BacnetSession]:
        with needs_extra("the BACnet connector", "bacnet"):
            from millstream.connectors.bacnet._device import Device
            from millstream.connectors.bacnet._link import BacnetLink
            from millstream.connectors.bacnet._session import BacnetSession
        link = BacnetLink(self._config)
        try:
            await link.open()
            device = Device(link, self._config, self._tools.log)
            await device.meet()
            yield BacnetSession(link, device, self._config, self._tools)
        finally:
            await link.close()
