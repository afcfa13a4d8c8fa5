"""OPC UA: subscriptions, history backfill, writes and browsing over UA Binary."""

from millstream.connectors.opcua._config import OpcUaConfig, TagOptions
from millstream.connectors.opcua._connector import OpcUaConnector

__all__ = ["OpcUaConfig", "OpcUaConnector", "TagOptions"]
