"""The OPC UA connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from millstream.connectors.opcua._address import parse_address
from millstream.connectors.opcua._config import OpcUaConfig, TagOptions
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
    from millstream.connectors.opcua._session import OpcUaSession


class OpcUaConnector:
    """Subscribes to the variables of an OPC UA server, fills gaps from its history, writes and browses."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="opcua",
        summary="OPC UA client: subscriptions, history backfill, writes, browsing",
        spec="OPC 10000 1.05 (UA Binary over TCP)",
        maturity="gold",
        notices_loss=True,
    )
    discovery: ClassVar[DiscoveryInfo] = DiscoveryInfo("GetEndpoints and FindServers, without logging in", 4840)
    Config: ClassVar[type[ConnectorConfig]] = OpcUaConfig
    TagOptions: ClassVar[type[TagOptions]] = TagOptions

    def __init__(self, config: OpcUaConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools

    def check_tag(self, tag: Tag) -> None:
        """Raise ConfigError when the address is neither a node id nor a path, or an option cannot be."""
        parse_address(tag.address)
        options = checked_options(tag, TagOptions)
        for address in (options.event_type, options.method_object):
            if address is not None:
                parse_address(address)

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        """Who a server is and what it offers. Raises Unreachable, ProtocolViolation."""
        with needs_extra("the OPC UA connector", "opcua"):
            from millstream.connectors.opcua._discovery import find_servers
        return await find_servers(place, tools)

    def open(self) -> AbstractAsyncContextManager[OpcUaSession]:
        """Connect and log in; on exit log out. Raises Unreachable, AuthError, ProtocolViolation."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[OpcUaSession]:
        with needs_extra("the OPC UA connector", "opcua"):
            # asyncua takes a third of a second to import, and `millstream check` needs none of it.
            from millstream.connectors.opcua._redundancy import open_best
            from millstream.connectors.opcua._session import OpcUaSession
        link = await open_best(self._config, self._tools)
        try:
            yield OpcUaSession(link, self._config, self._tools)
        finally:
            await link.close()
