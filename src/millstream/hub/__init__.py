"""The hub's composition root: server, sources, historian, ledger, status."""

from millstream.hub._backup import back_up, restore
from millstream.hub._backup_manifest import Manifest, load_manifest
from millstream.hub._ledger import HubLedger, OriginFeeder
from millstream.hub._node import HubNode, server_settings
from millstream.hub._plant import HubPlant
from millstream.hub._sources import SourceKeeper, plan_sources
from millstream.hub._tenants import Tenants

__all__ = [
    "Manifest",
    "back_up",
    "load_manifest",
    "restore",
    "HubLedger",
    "HubNode",
    "HubPlant",
    "OriginFeeder",
    "SourceKeeper",
    "Tenants",
    "plan_sources",
    "server_settings",
]
