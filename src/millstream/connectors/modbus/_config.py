"""Configuration of the Modbus connector."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from millstream.kernel import ConfigError
from millstream.protocols.modbus_plan import BITS_COUNT_MAX, REGISTERS_COUNT_MAX, PlanLimits, parse_range
from millstream.sdk import ConnectorConfig, Duration, Strict


class ModbusConfig(ConnectorConfig):
    """Where the device is, and how much it takes in one request."""

    transport: Literal["tcp", "rtu_over_tcp", "serial"] = "tcp"
    """`tcp`: Modbus TCP. `rtu_over_tcp`: the frames of a serial line behind a transparent gateway. `serial`: a line."""
    host: str = ""
    """Name or address of the device or gateway; not for `serial`."""
    port: int = Field(default=502, ge=1, le=65535)
    """Its port."""
    serial_port: str | None = None
    """The serial port, e.g. `/dev/ttyUSB0` or `COM3`; for `serial` only."""
    baud_rate: int = Field(default=19200, ge=50, le=4_000_000)
    """Bits per second on the line; this and the next three are for `serial` only."""
    parity: Literal["even", "odd", "none"] = "even"
    """Parity of the line. Without one the standard asks for two stop bits, which few devices heed."""
    stop_bits: Literal[1, 2] = 1
    """Stop bits of the line."""
    local_echo: bool = False
    """Whether the adapter of the line hears what it sends, as some for two wires do."""
    unit_id: int = Field(default=1, ge=0, le=255)
    """The unit behind that address, for tags that name none; 255 or 1 for a device with its own network port."""
    connect_timeout: Duration = 5.0
    """How long connecting may take."""
    timeout: Duration = 3.0
    """How long one answer may take; a later one means that the unit, or with one unit the link, is lost."""
    byte_order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"
    """How values of several registers lie on the wire, for tags that name no order. A is the most significant byte."""
    gap_max: int = Field(default=16, ge=0, le=REGISTERS_COUNT_MAX)
    """Up to so many registers that nobody wants are read along to save a request."""
    registers_count_max: int = Field(default=REGISTERS_COUNT_MAX, ge=1, le=REGISTERS_COUNT_MAX)
    """Registers of one request; some devices take fewer than the standard's 125."""
    bits_count_max: int = Field(default=BITS_COUNT_MAX, ge=1, le=BITS_COUNT_MAX)
    """Coils or discrete inputs of one request."""
    holes: tuple[str, ...] = ()
    """Ranges that no request may touch, e.g. `holding:100-120`."""
    request_pause: Duration = 0.0
    """Pause before each request, for devices that need one."""

    @field_validator("holes")
    @classmethod
    def _are_ranges(cls, holes: tuple[str, ...]) -> tuple[str, ...]:
        for text in holes:
            try:
                parse_range(text)
            except ConfigError as error:
                raise ValueError(f"{error.what}, expected {error.expected}, got {error.got}") from error
        return holes

    @model_validator(mode="after")
    def _has_a_place(self) -> ModbusConfig:
        if self.transport == "serial" and not self.serial_port:
            raise ValueError("the transport 'serial' needs 'serial_port'")
        if self.transport != "serial" and not self.host:
            raise ValueError(f"the transport {self.transport!r} needs 'host'")
        return self

    def limits(self) -> PlanLimits:
        """What the planner may join."""
        return PlanLimits(
            self.gap_max, self.registers_count_max, self.bits_count_max, tuple(parse_range(text) for text in self.holes)
        )


class ModbusTagOptions(Strict):
    """Options of one tag."""

    unit_id: int | None = Field(default=None, ge=0, le=255)
    """The unit behind a gateway, when it is not the connector's."""
