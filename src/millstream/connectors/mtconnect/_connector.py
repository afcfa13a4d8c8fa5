"""The MTConnect connector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from millstream.connectors.mtconnect._agent_session import AgentSession, open_agent
from millstream.connectors.mtconnect._config import MTConnectConfig, MTConnectTagOptions
from millstream.connectors.mtconnect._discovery import find_agent
from millstream.connectors.mtconnect._shdr_session import GapCounter, ShdrSession, open_shdr
from millstream.kernel import ConfigError, DecodeError
from millstream.protocols.mtconnect_condition import ConditionBook
from millstream.protocols.mtconnect_xml import DOCUMENT_BYTES_MAX, Devices, parse_devices
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
)


class MTConnectConnector:
    """Reads machine tools by MTConnect: an adapter's SHDR socket, or an agent over HTTP."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="mtconnect",
        summary="machine tools: an adapter's SHDR stream, or an agent's buffer over HTTP",
        spec="MTConnect 1.1 to 2.5 (ANSI/MTC1.4), SHDR 1.x and 2.0",
        maturity="gold",
        notices_loss=True,
    )
    discovery: ClassVar[DiscoveryInfo] = DiscoveryInfo("the device model of an agent (GET /probe)", 5000)
    Config: ClassVar[type[ConnectorConfig]] = MTConnectConfig

    def __init__(self, config: MTConnectConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools
        self._gaps = GapCounter()
        self._conditions = ConditionBook()  # outlives sessions: what ended in an outage is told
        self._devices: Devices | None = None

    def check_tag(self, tag: Tag) -> None:
        """An address is a data item's id or name, without blanks and bars."""
        address = tag.address
        if not address.strip() or "|" in address or any(char.isspace() for char in address):
            raise ConfigError(
                f"tag {tag.key!r} has no data item as its address",
                expected="the id or name of a data item, e.g. Xabs",
                got=repr(address),
                code="MS-0105",
            )
        checked_options(tag, MTConnectTagOptions)

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        """The agent or adapter behind an address. Raises Unreachable, ProtocolViolation."""
        return await find_agent(place, tools)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ShdrSession | AgentSession]:
        """Connect. Raises Unreachable, AuthError, ProtocolViolation; ConfigError when devices_file cannot be read."""
        if self._config.mode == "agent":
            async with open_agent(self._config, self._tools, gaps=self._gaps, conditions=self._conditions) as agent:
                yield agent
            return
        if self._devices is None and self._config.devices_file is not None:
            self._devices = await asyncio.to_thread(_read_devices, self._config)
        async with open_shdr(
            self._config, self._tools, devices=self._devices, gaps=self._gaps, conditions=self._conditions
        ) as adapter:
            yield adapter


def _read_devices(config: MTConnectConfig) -> Devices | None:
    if config.devices_file is None:
        return None
    where = str(config.devices_file)
    try:
        with config.devices_file.open("rb") as stream:
            return parse_devices(stream.read(DOCUMENT_BYTES_MAX + 1))
    except OSError as error:
        raise ConfigError(
            f"devices_file cannot be read: {error.strerror}", where=where, next_step="correct 'devices_file'"
        ) from error
    except DecodeError as error:
        raise ConfigError(f"devices_file is no device model: {error.what}", where=where, got=error.got) from error
