"""The EtherNet/IP connector."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from millstream.connectors.ethernet_ip._config import EtherNetIpConfig
from millstream.connectors.ethernet_ip._faults import NEXT_STEP
from millstream.kernel import Unreachable
from millstream.protocols.cip_address import parse_address
from millstream.sdk import (
    ConnectorConfig,
    ConnectorInfo,
    ConnectorTools,
    Discovered,
    DiscoveryInfo,
    DiscoveryTools,
    Place,
    Tag,
    needs_extra,
    refuse_options,
)

if TYPE_CHECKING:
    from millstream.connectors.ethernet_ip._driver import Driver
    from millstream.connectors.ethernet_ip._session import EtherNetIpSession


class EtherNetIpConnector:
    """Polls and writes the tags of a Logix controller by EtherNet/IP."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="ethernet_ip",
        summary="EtherNet/IP: tags of Logix controllers by name, read in batches, writes, tag list",
        spec="CIP Networks Library volumes 1 and 2, Logix 5000 Data Access (1756-PM020)",
        maturity="silver",
        notices_loss=True,
    )
    discovery: ClassVar[DiscoveryInfo] = DiscoveryInfo("List Identity, without a session", 44818)
    Config: ClassVar[type[ConnectorConfig]] = EtherNetIpConfig

    def __init__(self, config: EtherNetIpConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools

    def check_tag(self, tag: Tag) -> None:
        """Raise ConfigError when the address is outside the grammar, or the tag has options."""
        parse_address(tag.address)
        refuse_options(tag, "MS-1301")

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        """Who a device says it is. Raises Unreachable, ProtocolViolation."""
        from millstream.connectors.ethernet_ip._discovery import find_identity

        return await find_identity(place, tools)

    def open(self) -> AbstractAsyncContextManager[EtherNetIpSession]:
        """Connect; on exit close. Raises Unreachable, ProtocolViolation."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[EtherNetIpSession]:
        from millstream.connectors.ethernet_ip._session import EtherNetIpSession
        from millstream.connectors.ethernet_ip._thread import DriverThread

        address = await self._resolve()
        driver = self._make_driver(address)
        thread = DriverThread(driver, self._tools.name)
        try:
            await thread.run(driver.open)
            yield EtherNetIpSession(thread, driver, self._config, self._tools)
        finally:
            await thread.close()

    async def _resolve(self) -> str:
        """Here, since the libraries would do it in the thread and nothing ends a look-up."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                found = await loop.getaddrinfo(
                    self._config.host, self._config.port, family=socket.AF_INET, type=socket.SOCK_STREAM
                )
        except (OSError, TimeoutError) as error:
            raise Unreachable(
                f"name cannot be resolved: {error}", where=self._config.host, next_step=NEXT_STEP
            ) from error
        return str(found[0][4][0])

    def _make_driver(self, address: str) -> Driver:
        with needs_extra("the EtherNet/IP connector", "ethernet_ip"):
            if self._config.driver == "pycomm3":
                from millstream.connectors.ethernet_ip._pycomm3_driver import Pycomm3Driver

                return Pycomm3Driver(self._config, address, self._tools.clock)
            from millstream.connectors.ethernet_ip._pylogix_driver import PylogixDriver

            return PylogixDriver(self._config, address, self._tools.clock)
