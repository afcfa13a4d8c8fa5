"""Tells each edge how far the hub has its streams.

If each edge asked instead, each answer would hold the sources of all edges: with 20 edges 200 kB/s, and growing with
the square of their number.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from millstream.bus import (
    CONTRACTS,
    CONTRACTS_PREFIX,
    HUB_LOCAL,
    StreamApi,
    StreamInfo,
    StreamName,
    Transport,
    cursors_subject,
)
from millstream.hub._sources import SourceKeeper
from millstream.kernel import Clock, PlantError
from millstream.protocols.nats_wire import WireMessage

TELL_INTERVAL_S = 1.0
CONTRACTS_ASKS = 3  # tellings after one was heard of
CONTRACTS_REST = 10  # tellings between two asks where none was heard of: a lost link hears nothing
TELL_AGAIN = 2  # what has not changed is told each second time: an idle edge is woken less often


class CursorTeller:
    """Run `run` in the node's task group. With the cursors goes how far the hub's contracts are, so that no edge has to
    ask for that either."""

    def __init__(self, connection: Transport, sources: SourceKeeper, clock: Clock) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._sources = sources
        self._clock = clock
        self._contracts_seq, self._contracts_asks, self._contracts_rest = 0, 0, 0

    async def run(self) -> None:
        """Once a second what has changed, for ever. An edge that hears nothing asks by itself."""
        sid = self._connection.subscribe(CONTRACTS_PREFIX + ">", self._hear_contract)
        try:
            await self._tell_for_ever()
        finally:
            self._connection.unsubscribe(sid)

    async def _tell_for_ever(self) -> None:
        told: dict[str, bytes] = {}
        looks_count = 0
        while True:
            if not self._sources.edges:
                await self._sources.edges_changed.wait()
            looks_count += 1
            try:
                infos = [info for info in await self._sources.refreshed() if info.name != HUB_LOCAL]
                contracts = await self._contracts(), None
                for edge, cursors in cursors_by_edge(infos, self._sources.edges).items():
                    message = msgspec.json.encode({**cursors, CONTRACTS: contracts})
                    if looks_count % TELL_AGAIN == 0 or told.get(edge) != message:
                        self._connection.publish(cursors_subject(edge), message)
                    told[edge] = message
            except PlantError:
                pass  # the own server restarts: its supervisor tells
            await self._clock.sleep(TELL_INTERVAL_S)

    def _hear_contract(self, _: list[WireMessage]) -> None:
        """One is sent, which may be before it is stored: looked for at the next tellings."""
        self._contracts_asks = CONTRACTS_ASKS

    async def _contracts(self) -> int:
        """How far the hub's contracts are; asked when one was heard of, and now and then. Raises PlantError."""
        self._contracts_rest -= 1
        if self._contracts_asks > 0 or self._contracts_rest <= 0:
            self._contracts_seq = (await self._api.state(CONTRACTS)).last_seq
            self._contracts_asks, self._contracts_rest = max(0, self._contracts_asks - 1), CONTRACTS_REST
        return self._contracts_seq


def cursors_by_edge(infos: Sequence[StreamInfo], edges: Sequence[str]) -> dict[str, dict[str, tuple[int, str | None]]]:
    """Edge -> its streams -> cursor and error of the hub's source. An edge without a source is there, too."""
    found: dict[str, dict[str, tuple[int, str | None]]] = {edge: {} for edge in edges}
    for info in infos:
        for origin, source in info.sources.items():
            name = StreamName.parse(origin)
            if name is not None and name.edge in found:
                found[name.edge][origin] = (source.cursor_seq, source.error)
    return found
