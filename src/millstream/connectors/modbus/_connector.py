"""The Modbus connector."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from millstream.connectors.modbus._config import ModbusConfig, ModbusTagOptions
from millstream.kernel import ConfigError
from millstream.protocols.modbus_plan import parse_address
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
    from millstream.connectors.modbus._session import ModbusSession


class ModbusConnector:
    """Polls and writes registers and coils by Modbus TCP or RTU, of one device or of several behind one address."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="modbus",
        summary="Modbus TCP and RTU: registers and coils, neighbours read in one request, writes",
        spec="MODBUS Application Protocol 1.1b3, MODBUS Messaging on TCP/IP 1.0b, MODBUS over Serial Line 1.02",
        maturity="silver",
        notices_loss=True,
    )
    discovery: ClassVar[DiscoveryInfo] = DiscoveryInfo(
        "one read of holding register 0 of each unit named", 502, units=(0, 255)
    )
    Config: ClassVar[type[ConnectorConfig]] = ModbusConfig
    TagOptions: ClassVar[type[ModbusTagOptions]] = ModbusTagOptions

    def __init__(self, config: ModbusConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools

    def check_tag(self, tag: Tag) -> None:
        """Raise ConfigError when the address is outside the grammar, or too long for one request of this device."""
        point = parse_address(tag.address, self._config.byte_order)
        is_long = point.count > (
            self._config.bits_count_max if point.table.has_bits else self._config.registers_count_max
        )
        if is_long:
            raise ConfigError(
                f"tag {tag.key!r} does not fit one request",
                expected="at most registers_count_max registers or bits_count_max bits",
                got=str(point.count),
                code="MS-0120",
            )
        for hole in self._config.limits().holes:
            if hole.table is point.table and hole.first < point.end and hole.last >= point.address:
                raise ConfigError(f"tag {tag.key!r} lies in a hole", got=tag.address, code="MS-0120")
        checked_options(tag, ModbusTagOptions, "MS-0120")

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        """The units that answer behind an address. Raises Unreachable, ProtocolViolation."""
        with needs_extra("the Modbus connector", "modbus"):
            from millstream.connectors.modbus._discovery import find_units
        return await find_units(place, tools)

    def open(self) -> AbstractAsyncContextManager[ModbusSession]:
        """Connect; on exit close. Raises Unreachable."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[ModbusSession]:
        with needs_extra("the Modbus connector", "modbus"):
            from millstream.connectors.modbus._link import Link
            from millstream.connectors.modbus._session import ModbusSession
        if self._config.transport == "serial" and importlib.util.find_spec("serial") is None:
            raise ConfigError(
                "Modbus on a serial line needs pyserial", next_step="pip install 'millstream[serial]'", code="MS-0106"
            )
        link = Link(self._config, self._tools.clock)
        try:
            await link.open()
            yield ModbusSession(link, self._config, self._tools)
        finally:
            link.close()
