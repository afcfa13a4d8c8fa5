"""Tells each edge when there is a new revision of its configuration; one that does not hear it asks by itself.

It is told when the revision is sent, which may be before it is stored: with its mark, so that an edge that looks too
early looks again.
"""

from __future__ import annotations

import asyncio
import contextlib

from millstream.bus import CONFIG_PREFIX, RawConnection
from millstream.kernel import Unreachable
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.site_config import encode_look, is_edge_name


class ConfigNudger:
    """Run `run` in the node's task group."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection

    async def run(self) -> None:
        """For ever."""
        sid = self._connection.subscribe(CONFIG_PREFIX + "*", self._on_change)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._connection.unsubscribe(sid)

    def _on_change(self, messages: list[WireMessage]) -> None:
        newest = {message[1].decode("utf-8", "replace").removeprefix(CONFIG_PREFIX): message[4] for message in messages}
        for edge, payload in newest.items():
            if is_edge_name(edge):
                with contextlib.suppress(Unreachable):  # the own server restarts: the edge asks by itself
                    self._connection.publish(f"millstream.node.{edge}.config", encode_look(payload))
