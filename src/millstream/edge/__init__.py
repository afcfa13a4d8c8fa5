"""The edge node: connectors, store and forward, on one machine."""

from millstream.edge._lifecycle import Alarm, State
from millstream.edge._node import EdgeNode
from millstream.edge._probe import BrowseResult, ProbeResult, browse, probe, starting_config

__all__ = ["Alarm", "BrowseResult", "EdgeNode", "ProbeResult", "State", "browse", "probe", "starting_config"]
