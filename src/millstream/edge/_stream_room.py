"""Room in the edge's streams before they are full: what the hub has had for long, and nobody here needs, goes first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from millstream.bus import StreamApi, StreamInfo, ensure_stream, purge_below, trim_below
from millstream.edge._positions import PositionKeeper
from millstream.kernel import StoreFullError

REFRESH_ABOVE_RATIO = 0.4  # of a stream's bound: from here on its older half may soon be dropped
POSITIONS_ROOM_BYTES = 1 << 20  # records of some hundred bytes a connector; writers that wait may take of it too
Cursors = Mapping[str, tuple[int, str | None]]
"""Stream -> what the hub has of it, and the error that it reports."""
InputFloor = Callable[[str], Awaitable[int | None]]
Floor = Callable[[], Awaitable[int]]
"""Gives the sequence of the flow stream from which on its records are needed. Raises PlantError."""


class StreamRoom:
    """Who else reads a stream names a floor, below which only may be purged. All raise PlantError."""

    def __init__(self, api: StreamApi, positions: PositionKeeper) -> None:
        self._api, self._positions = api, positions
        self.flow_floor: Floor | None = None
        self.input_floor: InputFloor | None = None
        self.history_floor: InputFloor | None = None

    async def keep_positions(self, info: StreamInfo) -> None:
        """Before a stream that drops or ages its oldest messages comes to them."""
        is_filling = info.bytes > REFRESH_ABOVE_RATIO * int(info.config.get("max_bytes", 0)) > 0
        if is_filling or info.config.get("max_age"):
            await self._positions.refresh(info, info.first_seq + info.messages // 2)

    async def trim(self, info: StreamInfo, cursor_seq: int) -> None:
        """Make room before a `block` stream is full."""
        seq = trim_below(info, cursor_seq)
        for floor in (self.input_floor, self.history_floor):  # what a flow or the history has still to read stays
            unread = await floor(info.name) if seq is not None and floor is not None else None
            seq = min(seq, unread) if seq is not None and unread is not None else seq
        if seq is None or seq <= info.first_seq:
            return
        try:
            await self._positions.refresh(info, seq)
        except StoreFullError:
            await self._trim_full(info, seq)
        else:
            await purge_below(self._api, info.name, seq)

    async def _trim_full(self, info: StreamInfo, seq: int) -> None:
        """A position has to be written again before the stream forgets it, and a full stream does not even take that:
        the bound is raised a little until there is room."""
        raised = int(info.config["max_bytes"]) + POSITIONS_ROOM_BYTES
        await ensure_stream(self._api, {**info.config, "max_bytes": raised})
        try:
            await self._positions.refresh(info, seq)
            await purge_below(self._api, info.name, seq)
        finally:
            await ensure_stream(self._api, info.config)

    async def trim_flow(self, info: StreamInfo, cursor_seq: int) -> None:
        """The same for what flows said: what no flow needs to find its state again, and the hub has."""
        if self.flow_floor is None or trim_below(info, cursor_seq) is None:
            return
        seq = trim_below(info, min(cursor_seq, await self.flow_floor() - 1))
        if seq is not None:
            await purge_below(self._api, info.name, seq)
