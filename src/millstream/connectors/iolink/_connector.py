"""The IO-Link connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from millstream.connectors.iolink._client import open_client
from millstream.connectors.iolink._config import IoLinkConfig, IoLinkTagOptions
from millstream.connectors.iolink._discovery import find_master
from millstream.connectors.iolink._session import IoLinkSession
from millstream.kernel import DecodeError, ProtocolViolation, Unreachable
from millstream.protocols.iolink_data import parse_point
from millstream.protocols.iolink_master import Ask, iotcore_path
from millstream.sdk import (
    ConnectorConfig,
    ConnectorInfo,
    ConnectorTools,
    Discovered,
    DiscoveryInfo,
    DiscoveryTools,
    Place,
    Tag,
    checked_address,
    checked_options,
)


class IoLinkConnector:
    """Polls the devices behind an IO-Link master: process data by the layout of their description."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="iolink",
        summary="devices behind an IO-Link master over its JSON interface, process data decoded",
        spec="JSON Integration for IO-Link 1.0.0 (10.222), IoT core data points, IEC 61131-9",
        maturity="silver",
        notices_loss=True,
    )
    discovery: ClassVar[DiscoveryInfo] = DiscoveryInfo("who the master is, in both dialects, over plain HTTP", 80)
    Config: ClassVar[type[ConnectorConfig]] = IoLinkConfig
    TagOptions: ClassVar[type[IoLinkTagOptions]] = IoLinkTagOptions

    def __init__(self, config: IoLinkConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools

    def check_tag(self, tag: Tag) -> None:
        """Raise ConfigError when the address is outside the grammar, or not one of this dialect."""
        with checked_address(tag, "MS-1653"):
            point = parse_point(tag.address)
            if self._config.dialect == "iotcore":
                iotcore_path(point)
            elif point.what == "data":
                raise DecodeError("data points are of the dialect iotcore", expected="port1:in:int16@16")
        checked_options(tag, IoLinkTagOptions, "MS-1653")

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        """The master behind an address. Raises Unreachable, ProtocolViolation, AuthError."""
        return await find_master(place, tools)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[IoLinkSession]:
        """Ask the master who it is. Raises Unreachable, AuthError, ProtocolViolation, ConfigError."""
        async with open_client(self._config) as client:
            if self._config.dialect == "json":
                ask = Ask("/gateway/identification", ())
            else:
                body = {"code": "request", "cid": 1, "adr": "/deviceinfo/productcode/getdata"}
                ask = Ask("/", (), body, "POST")
            status, document = await client.ask(ask)
            if status >= 500:
                raise Unreachable(f"master answers with status {status}", where=self._config.url, code="MS-1650")
            if not isinstance(document, dict):
                raise ProtocolViolation(
                    "this is no IO-Link master of this dialect", where=self._config.url, got=f"status {status}",
                    next_step="check url (json: it ends with /iolink/v1) and dialect", code="MS-1652",
                )  # fmt: skip
            yield IoLinkSession(client, self._config, self._tools)
