"""Tells each edge how far the hub has its streams.

If each edge asked instead, each answer would hold the sources of all edges: with 20 edges 200 kB/s, and growing with
the square of their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from millstream.bus import (
    HUB_DLQ,
    HUB_INTEGRITY,
    HUB_THROUGHPUT,
    StreamApi,
    StreamInfo,
    StreamName,
    Transport,
    cursors_subject,
    find_stream,
)
from millstream.kernel import Clock, PlantError

TELL_INTERVAL_S = 1.0


class CursorTeller:
    """Run `run` in the node's task group. `edges` gives the configured ones."""

    def __init__(self, connection: Transport, edges: Callable[[], Sequence[str]], clock: Clock) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._edges = edges
        self._clock = clock

    async def run(self) -> None:
        """Once a second, for ever. An edge that hears nothing asks by itself."""
        while True:
            try:
                infos = [await find_stream(self._api, name) for name in (HUB_INTEGRITY, HUB_THROUGHPUT, HUB_DLQ)]
                for edge, told in cursors_by_edge([i for i in infos if i is not None], self._edges()).items():
                    self._connection.publish(cursors_subject(edge), msgspec.json.encode(told))
            except PlantError:
                pass  # the own server restarts: its supervisor tells
            await self._clock.sleep(TELL_INTERVAL_S)


def cursors_by_edge(infos: Sequence[StreamInfo], edges: Sequence[str]) -> dict[str, dict[str, tuple[int, str | None]]]:
    """Edge -> its streams -> cursor and error of the hub's source. An edge without a source is there, too."""
    found: dict[str, dict[str, tuple[int, str | None]]] = {edge: {} for edge in edges}
    for info in infos:
        for origin, source in info.sources.items():
            name = StreamName.parse(origin)
            if name is not None and name.edge in found:
                found[name.edge][origin] = (source.cursor_seq, source.error)
    return found
