"""Millstream: from any machine to one unified namespace, durable, counted and visible.

``import millstream`` stays light: the Python SDK is loaded on first use of `connect` or `connect_sync`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millstream.client import Plant, SyncPlant, connect, connect_sync

__version__ = "0.1.0.dev0"
__all__ = ["Plant", "SyncPlant", "__version__", "connect", "connect_sync"]


def __getattr__(name: str) -> Any:
    """Resolve the SDK names lazily (PEP 562), so that the CLI starts without loading NATS or Arrow."""
    if name in {"Plant", "SyncPlant", "connect", "connect_sync"}:
        # By name, not by import statement: the root is below every layer, and only a caller outside gets here.
        return getattr(import_module("millstream.client"), name)
    raise AttributeError(f"module 'millstream' has no attribute {name!r}")
