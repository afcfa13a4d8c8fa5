"""What edges answer the hub, by the name that the hub's server vouches for.

Each edge's answers come on a subject that only that edge may publish on (`edge_permissions`), and the hub listens edge
by edge, so that each subscription says whose answers it gets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from millstream.bus import RawConnection
from millstream.kernel import Clock
from millstream.protocols.fleet_query import ANSWER_PREFIX
from millstream.protocols.nats_wire import WireMessage

REACHED_S = 15.0  # an edge that answered the hub within this is there; a large fleet is asked in turn
PARTS_WAITING_MAX = 256  # of one question to one edge; what comes beyond is dropped


class EdgeAnswers:
    """Hands each answer of an edge to the question with its id."""

    def __init__(
        self, connection: RawConnection, edges: Callable[[], Sequence[str]], reached: Callable[[], Mapping[str, int]],
        *, clock: Clock,
    ) -> None:  # fmt: skip
        """`edges` gives the configured ones, `reached` when each last answered the hub (UTC ns)."""
        self._connection = connection
        self.edges = edges
        self.reached = reached
        self._clock = clock
        self._sids: dict[str, int] = {}
        self._takers: dict[str, Callable[[str, WireMessage], None]] = {}

    def listen(self) -> None:
        """Listen to the edges that are configured now; called again with each question."""
        edges = set(self.edges())
        for edge in edges - self._sids.keys():
            self._sids[edge] = self._connection.subscribe(f"{ANSWER_PREFIX}{edge}.*", partial(self._take, edge))
        for edge in self._sids.keys() - edges:
            self._connection.unsubscribe(self._sids.pop(edge))

    def there(self, edges: Collection[str]) -> set[str]:
        """Those that answered the hub a moment ago."""
        reached, since_ns = self.reached(), self._clock.now_ns() - int(REACHED_S * 1e9)
        return {edge for edge in edges if reached.get(edge, 0) > since_ns}

    def _take(self, edge: str, messages: list[WireMessage]) -> None:
        for message in messages:
            taker = self._takers.get(message[1].rpartition(b".")[2].decode("ascii", "replace"))
            if taker is not None:
                taker(edge, message)

    @contextmanager
    def taking(self, id: str, taker: Callable[[str, WireMessage], None]) -> Iterator[None]:
        """While in the scope, `taker` gets what edges answer to the question `id`."""
        self.listen()
        self._takers[id] = taker
        try:
            yield
        finally:
            del self._takers[id]

    @contextmanager
    def expecting(self, id: str, edge: str) -> Iterator[asyncio.Queue[WireMessage]]:
        """What one edge answers to the question `id`; what others send is dropped."""
        arrived: asyncio.Queue[WireMessage] = asyncio.Queue(PARTS_WAITING_MAX)

        def take(name: str, message: WireMessage) -> None:
            if name == edge and not arrived.full():
                arrived.put_nowait(message)

        with self.taking(id, take):
            yield arrived
