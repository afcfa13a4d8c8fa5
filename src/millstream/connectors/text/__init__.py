"""Devices that send text: barcode scanners, scales, gauges, by TCP or a serial line."""

from millstream.connectors.text._config import TextConfig, TextTagOptions
from millstream.connectors.text._connector import TextConnector

__all__ = ["TextConfig", "TextConnector", "TextTagOptions"]
