"""EtherNet/IP: tags of Logix controllers by their names, read in batches."""

from millstream.connectors.ethernet_ip._config import EtherNetIpConfig
from millstream.connectors.ethernet_ip._connector import EtherNetIpConnector

__all__ = ["EtherNetIpConfig", "EtherNetIpConnector"]
