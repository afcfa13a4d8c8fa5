"""The main job on real input: a plant, an edge, a hub, a cut uplink, and the ledger at the end."""

from millstream.demo._main import main

__all__ = ["main"]
