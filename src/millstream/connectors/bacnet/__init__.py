"""BACnet/IP: properties of building devices, subscribed where the device offers it, read in batches elsewhere."""

from millstream.connectors.bacnet._config import BacnetConfig, BacnetTagOptions
from millstream.connectors.bacnet._connector import BacnetConnector

__all__ = ["BacnetConfig", "BacnetConnector", "BacnetTagOptions"]
