"""The history at an edge: what its own streams hold, kept longer than they do, and answered when the hub is away.

It reads beside the data path and never holds it up: a history that cannot store is an alarm, not a full stream.

Each box of a site of several keeps one of its own, read from the streams that they share by its own position, whether
it works or stands by. So whoever takes over has the answers at once. Only the one that works is waited for when a
stream is trimmed: a box that is away does not stop the site. What went meanwhile its history counts as gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from millstream.archive import NodeRequests, node_historian
from millstream.bus import RawConnection, StreamApi, StreamName, list_streams
from millstream.config import EdgeHistorianConfig
from millstream.edge._boot import newest_generation
from millstream.historian import HistorianService
from millstream.kernel import Clock, PlantError
from millstream.protocols.history_query import node_subject
from millstream.sdk import Log

WATCH_S = 1.0  # how soon a stream that a new configuration brought is read, too
LOOK_S = 2.0  # how soon a box that stands by sees a new stream; it is there when that box works
_KINDS: tuple[Literal["I", "T", "S", "F"], ...] = ("I", "T", "S", "F")  # in the order of `Works.streams`
STATUS_EVERY_S = 5.0  # the counts cost a look into the database


class EdgeHistory:
    """`run` keeps it; `historian` is None while it does not run."""

    def __init__(
        self, name: str, data_dir: Path, config: EdgeHistorianConfig, connection: RawConnection,
        streams: Callable[[], Sequence[str]], *, clock: Clock, log: Log, is_asked: bool = True,
    ) -> None:  # fmt: skip
        """`streams` gives the names of those that hold data now. With `is_asked` it answers for the site on NATS."""
        self._name = name
        self._folder = config.dir or data_dir / "historian"
        self._config = config
        self._connection = connection
        self._streams = streams
        self._clock = clock
        self._log = log
        self._is_asked = is_asked
        self._status: Mapping[str, Any] | None = None
        self.historian: HistorianService | None = None

    async def run(self) -> None:
        """Keep the history until cancelled; begins anew when the edge has other streams. Raises PlantError."""
        try:
            while True:
                streams = tuple(self._streams())
                async with node_historian(
                    self._config, self._connection, self._folder, streams=streams,
                    letters=f"dlq.{self._name}.historian",
                    requests=NodeRequests(self._connection) if self._is_asked else None,
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


class SharedStreams:
    """The streams of a site of several boxes, as one that stands by knows them: the newest generation of each kind."""

    def __init__(self, name: str, connection: RawConnection, clock: Clock) -> None:
        self._name = name
        self._api = StreamApi(connection)
        self._clock = clock
        self.names: tuple[str, ...] = ()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            with suppress(PlantError):  # no majority just now: looked at again
                found = await list_streams(self._api)
                newest = [StreamName(self._name, k, newest_generation(found, self._name, k)) for k in _KINDS]
                self.names = tuple(str(name) for name in newest if name.generation)
            await self._clock.sleep(LOOK_S)


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
