"""How often Python looks for reference cycles, in a process that moves many small objects."""

from __future__ import annotations

import gc

YOUNG_OBJECTS_MAX = 10_000  # some lists of messages; Python's 700 would look several times at each of them


def calm_collector() -> None:
    """Once, when a node starts: a fifth of the time of ingest goes into looking for cycles otherwise.

    What the data path makes has no cycles and is freed at once all the same."""
    gc.set_threshold(YOUNG_OBJECTS_MAX, 10, 10)
