"""Code that travels: what a flow's module is called, and how large it may be."""

from __future__ import annotations

WASM = "wasm"
"""The type of flows whose step is a WebAssembly module."""
MODULE_BYTES_MAX = 16 << 20
MODULE_MEMORY_BYTES = 16 << 20
"""Of one step, when nothing is said."""
MODULE_FUEL = 100_000_000
"""Instructions of one step, when nothing is said: about a tenth of a second."""
