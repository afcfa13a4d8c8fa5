"""Siemens S7: data blocks, inputs, outputs and merkers, asked in as few requests as the PLC's PDU allows."""

from millstream.connectors.s7._config import S7Config
from millstream.connectors.s7._connector import S7Connector

__all__ = ["S7Config", "S7Connector"]
