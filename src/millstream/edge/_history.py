"""The history at an edge: what its own streams hold, kept longer than they do, and answered when the hub is away.

It reads beside the data path and never holds it up: a history that cannot store is an alarm, not a full stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from millstream.archive import NodeRequests, node_historian
from millstream.bus import RawConnection
from millstream.config import EdgeHistorianConfig
from millstream.historian import HistorianService
from millstream.kernel import Clock
from millstream.protocols.history_query import node_subject
from millstream.sdk import Log

WATCH_S = 1.0  # how soon a stream that a new configuration brought is read, too
STATUS_EVERY_S = 5.0  # the counts cost a look into the database


class EdgeHistory:
    """`run` keeps it; `historian` is None while it does not run."""

    def __init__(
        self, name: str, data_dir: Path, config: EdgeHistorianConfig, connection: RawConnection,
        streams: Callable[[], Sequence[str]], *, clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        """`streams` gives the names of those that hold data now."""
        self._name = name
        self._folder = config.dir or data_dir / "historian"
        self._config = config
        self._connection = connection
        self._streams = streams
        self._clock = clock
        self._log = log
        self._status: Mapping[str, Any] | None = None
        self.historian: HistorianService | None = None

    async def run(self) -> None:
        """Keep the history until cancelled; begins anew when the edge has other streams. Raises PlantError."""
        try:
            while True:
                streams = tuple(self._streams())
                async with node_historian(
                    self._config, self._connection, self._folder, streams=streams,
                    letters=f"dlq.{self._name}.historian", requests=NodeRequests(self._connection),
                    subject=node_subject(self._name), clock=self._clock, log=self._log,
                ) as historian:  # fmt: skip
                    self.historian = historian
                    await self._watch(historian, streams)
        finally:
            self.historian = None

    async def _watch(self, historian: HistorianService, streams: tuple[str, ...]) -> None:
        looked_ns: int | None = None
        while tuple(self._streams()) == streams:
            now_ns = self._clock.monotonic_ns()
            if looked_ns is None or now_ns - looked_ns >= STATUS_EVERY_S * 1e9:
                stats = msgspec.to_builtins(await historian.stats())
                self._status = {name: value for name, value in stats.items() if name != "ledger"}
                looked_ns = now_ns
            await self._clock.sleep(WATCH_S)
        self.historian = None

    async def floor(self, stream: str) -> int | None:
        """The first message of a stream that is still to be stored; None: none that anything should wait for."""
        historian = self.historian
        if historian is None or not historian.is_healthy or stream not in historian.positions:
            return None
        return historian.positions[stream] + 1

    def status(self) -> Mapping[str, Any] | None:
        """As the hub tells of its own: rows, positions, lag, disk, a few seconds old."""
        if self._status is None:
            return None
        return {**self._status, "is_running": self.historian is not None}


def history_facts(status: Mapping[str, Any]) -> dict[str, Any] | None:
    """What queries of the fleet may ask of it."""
    found = status.get("historian")
    if found is None:
        return None
    lags = [stream["lag_messages"] for stream in found["streams"] if stream["lag_messages"] is not None]
    facts = {
        "state": "ok" if found["is_running"] and found["error"] is None else "degraded",
        "rows": found["rows"],
        "tags": found["tags"],
        "disk_bytes": found["disk_bytes"],
        "sealed_days": found["sealed_days"],
        "lag_messages": sum(lags),
    }
    if found["oldest_ns"] is not None:
        facts["oldest_ns"] = found["oldest_ns"]
    return facts
