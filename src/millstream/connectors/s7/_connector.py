"""The S7 connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from millstream.connectors.s7._config import S7Config
from millstream.protocols.s7_address import parse_address
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
    from millstream.connectors.s7._session import S7Session


class S7Connector:
    """Polls and writes the data blocks, inputs, outputs and merkers of a PLC."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="s7",
        summary="Siemens S7-300, 400, 1200, 1500: data blocks, I, Q, M; neighbours read in one request, writes",
        spec="S7 communication over ISO on TCP (RFC 1006)",
        maturity="silver",
        notices_loss=True,
    )
    discovery: ClassVar[DiscoveryInfo] = DiscoveryInfo(
        "a connection to racks and slots 0/1, 0/2 and 0/0, and the system status list of who answers", 102
    )
    Config: ClassVar[type[ConnectorConfig]] = S7Config

    def __init__(self, config: S7Config, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools

    def check_tag(self, tag: Tag) -> None:
        """Raise ConfigError when the address is outside the grammar, or an option is given: there are none."""
        parse_address(tag.address)
        refuse_options(tag, "MS-1200")

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        """The PLC behind an address. Raises Unreachable, ProtocolViolation."""
        with needs_extra("the S7 connector", "s7"):
            from millstream.connectors.s7._discovery import find_plc
        return await find_plc(place, tools)

    def open(self) -> AbstractAsyncContextManager[S7Session]:
        """Connect; on exit close. Raises Unreachable, AuthError, ConfigError (a secret that cannot be read)."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[S7Session]:
        with needs_extra("the S7 connector", "s7"):
            from millstream.connectors.s7._link import Link
            from millstream.connectors.s7._session import S7Session
        link = Link(self._config)
        try:
            await link.open()
            yield S7Session(link, self._config, self._tools)
        finally:
            link.close()
