"""Modbus TCP and RTU: registers and coils, asked in as few requests as the device allows."""

from millstream.connectors.modbus._config import ModbusConfig, ModbusTagOptions
from millstream.connectors.modbus._connector import ModbusConnector

__all__ = ["ModbusConfig", "ModbusConnector", "ModbusTagOptions"]
