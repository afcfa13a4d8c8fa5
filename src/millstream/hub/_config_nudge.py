"""Tells each edge when there is a new revision of its configuration; one that does not hear it asks by itself."""

from __future__ import annotations

import asyncio

from millstream.bus import CONFIG_PREFIX, RawConnection
from millstream.kernel import Clock
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.site_config import is_edge_name

AGAIN_S = 1.0  # the second time, for an edge that looked before the revision was stored


class ConfigNudger:
    """Run `run` in the node's task group."""

    def __init__(self, connection: RawConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        sid = self._connection.subscribe(CONFIG_PREFIX + "*", self._on_change)
        try:
            while True:
                self._wake.clear()
                changed, self._changed = self._changed, {}
                for _ in range(2 if changed else 0):
                    for edge in changed:
                        self._connection.publish(f"millstream.node.{edge}.config", b"look")
                    await self._clock.sleep(AGAIN_S)
                if not self._changed:
                    await self._wake.wait()
        finally:
            self._connection.unsubscribe(sid)

    def _on_change(self, messages: list[WireMessage]) -> None:
        for message in messages:
            edge = message[1].decode("utf-8", "replace").removeprefix(CONFIG_PREFIX)
            if is_edge_name(edge):
                self._changed[edge] = None
        self._wake.set()
