"""Sparkplug B 3.0 host application: all edge nodes of a broker, their metrics as tags."""

from millstream.connectors.sparkplug._config import AutoMap, SparkplugConfig
from millstream.connectors.sparkplug._connector import SparkplugConnector
from millstream.connectors.sparkplug._session import SparkplugSession

__all__ = ["AutoMap", "SparkplugConfig", "SparkplugConnector", "SparkplugSession"]
