"""The hub's composition root: server, sources, historian, ledger, status."""

from millstream.hub._backup import HistoryAsk, back_up, restore
from millstream.hub._backup_history import give_history, shown
from millstream.hub._backup_manifest import Manifest, load_manifest
from millstream.hub._backup_tenants import back_up_tenants
from millstream.hub._ledger import HubLedger, OriginFeeder
from millstream.hub._node import HubNode, server_settings
from millstream.hub._plant import HubPlant
from millstream.hub._restoring import restore_hub
from millstream.hub._sources import SourceKeeper, plan_sources
from millstream.hub._standing_history import history_dir
from millstream.hub._tenants import Tenants

__all__ = [
    "HistoryAsk",
    "Manifest",
    "back_up",
    "back_up_tenants",
    "give_history",
    "history_dir",
    "load_manifest",
    "restore",
    "restore_hub",
    "HubLedger",
    "HubNode",
    "HubPlant",
    "OriginFeeder",
    "SourceKeeper",
    "Tenants",
    "plan_sources",
    "server_settings",
    "shown",
]
