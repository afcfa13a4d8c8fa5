"""Tells each edge how far the hub has its streams.

If each edge asked instead, each answer would hold the sources of all edges: with 20 edges 200 kB/s, and growing with
the square of their number.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from millstream.bus import (
    CONTRACTS,
    HUB_LOCAL,
    StreamApi,
    StreamInfo,
    StreamName,
    Transport,
    cursors_subject,
)
from millstream.hub._sources import SourceKeeper
from millstream.kernel import Clock, PlantError

TELL_INTERVAL_S = 1.0
TELL_AGAIN = 2  # what has not changed is told each second time: an idle edge is woken less often


class CursorTeller:
    """Run `run` in the node's task group. With the cursors goes how far the hub's contracts are, so that no edge has to
    ask for that either."""

    def __init__(self, connection: Transport, sources: SourceKeeper, clock: Clock) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._sources = sources
        self._clock = clock

    async def run(self) -> None:
        """Once a second what has changed, for ever. An edge that hears nothing asks by itself."""
        told: dict[str, bytes] = {}
        looks_count = 0
        while True:
            looks_count += 1
            try:
                infos = [info for info in await self._sources.refreshed() if info.name != HUB_LOCAL]
                contracts = (await self._api.state(CONTRACTS)).last_seq, None
                for edge, cursors in cursors_by_edge(infos, self._sources.edges).items():
                    message = msgspec.json.encode({**cursors, CONTRACTS: contracts})
                    if looks_count % TELL_AGAIN == 0 or told.get(edge) != message:
                        self._connection.publish(cursors_subject(edge), message)
                    told[edge] = message
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
