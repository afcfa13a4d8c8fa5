"""The hub's composition root: server, sources, historian, ledger, status."""

from millstream.hub._ledger import HubLedger, OriginFeeder
from millstream.hub._node import HubNode, server_settings
from millstream.hub._sources import SourceKeeper, plan_sources

__all__ = ["HubLedger", "HubNode", "OriginFeeder", "SourceKeeper", "plan_sources", "server_settings"]
