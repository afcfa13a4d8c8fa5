"""How Python looks for cycles and glibc hands out memory, in a process that moves many small objects."""

from __future__ import annotations

import ctypes
import gc
import sys

YOUNG_OBJECTS_MAX = 10_000  # some lists of messages; Python's 700 would look several times at each of them
MAPPED_BYTES_MIN = 128 * 1024
TRIM_BYTES_MIN = 256 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def calm_collector() -> None:
    """Once, when a node starts: a fifth of the time of ingest goes into looking for cycles otherwise.

    What the data path makes has no cycles and is freed at once all the same."""
    gc.set_threshold(YOUNG_OBJECTS_MAX, 10, 10)


def calm_allocator() -> None:
    """Once, when a node starts: keep large blocks out of the heap. Without effect where there is no glibc.

    glibc takes them from the heap once one was freed (mallopt(3), "dynamic mmap threshold"). asyncio reads each piece
    from a socket into a block of 256 KiB and cuts it to what came; such pieces left holes that grew for hours.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
        mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES_MIN)
