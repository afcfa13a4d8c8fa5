"""Acme device: a device that answers text lines over TCP."""

from millstream.connectors.acme_device._config import AcmeDeviceConfig
from millstream.connectors.acme_device._connector import AcmeDeviceConnector

__all__ = ["AcmeDeviceConfig", "AcmeDeviceConnector"]
