"""Scrap and rework of machines with their reasons, and what people say of them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from millstream.client._desk_tools import DeskTools
from millstream.client._flow_desk import FlowDesk, Listed
from millstream.client._paths import Where, to_patterns
from millstream.client._times import Time, to_time_ns
from millstream.client._writes import me
from millstream.protocols.uns_pattern import Pattern
from millstream.shop import REJECT_TYPE, RejectAsk, check_reject_ask, lots_of, reject_ask_event

COMMAND = "quality"
"""The command by which a hub has an edge store what is said of parts."""
LATE_NS = 3 * 86_400 * 10**9  # so long after its time something may be said


class PartQuality:
    """The rejects of what can be seen from here. Made by `Plant.quality`."""

    def __init__(self, tools: DeskTools) -> None:
        self._desk, self._clock = FlowDesk(tools), tools.clock

    async def list(self, *patterns: Where, start: Time = "-1d", end: Time = "now") -> Sequence[Mapping[str, Any]]:
        """The rows of `listed`."""
        return (await self.listed(*patterns, start=start, end=end)).rows

    async def listed(self, *patterns: Where, start: Time = "-1d", end: Time = "now") -> Listed:
        """Lots of scrap and rework that have a part in this time, as they stand now, oldest first, each with its
        `path` and `lot`: those that were counted, by minute and reason, and what people said. What the node's streams
        hold no more is of its history, and where that cannot be asked the list says since when it is whole."""
        now_ns = self._clock.now_ns()
        start_ns, end_ns = to_time_ns(start, now_ns), to_time_ns(end, now_ns)
        found = await self._desk.told(to_patterns(patterns), start_ns - LATE_NS, REJECT_TYPE)
        lots = lots_of(((path, event.data) for path, event in found.events), start_ns, end_ns)
        return Listed(lots, found.since_ns, found.doubt)

    async def say(
        self, path: Where, count: float, kind: str, *, start: Time = "-1h", end: Time = "now", reason: str = "",
        instead_of: str = "", why: str = "", who: str | None = None, id: str | None = None,
    ) -> str:  # fmt: skip
        """Say of ``acme/plant1/press:quality`` that so many parts of this time were scrap, rework or, after all, good.
        Those that were counted without a reason are meant first, or with `instead_of` those with that reason. Returns
        the id once it is on disk; the same id counts once. Raises DecodeError, NotFoundError, Unreachable."""
        now_ns = self._clock.now_ns()
        span = (to_time_ns(start, now_ns), to_time_ns(end, now_ns))
        return await self._say(
            path,
            RejectAsk(id or str(uuid.uuid4()), who or me(), float(count), kind, *span, reason, instead_of, why),
        )

    async def correct(
        self, path: Where, lot: str, *, count: float | None = None, kind: str | None = None, reason: str = "",
        why: str = "", who: str | None = None, id: str | None = None,
    ) -> str:  # fmt: skip
        """Put right what somebody said (`lot` as `list` gives it); a count of 0 takes it back."""
        parts = None if count is None else float(count)
        ask = RejectAsk(id or str(uuid.uuid4()), who or me(), parts, kind or "", reason=reason, why=why, of=lot)
        return await self._say(path, ask)

    async def outcome(self, path: Where, id: str, *, timeout_s: float = 10.0) -> Mapping[str, Any] | None:
        """The lot once its flow has taken what was said; None when it has not by then. Raises PlantError when it was
        refused."""
        return await self._desk.outcome(
            path, id, REJECT_TYPE, "this cannot be said of these parts", "MS-2723", timeout_s
        )  # fmt: skip

    async def _say(self, path: Where, said: RejectAsk) -> str:
        ask, tag = check_reject_ask(msgspec.to_builtins(said)), Pattern.parse(path).tag
        now_ns = self._clock.now_ns()
        event = reject_ask_event(str(tag), ask, now_ns)

        async def before() -> Mapping[str, Any] | None:
            """The lot that is put right."""
            lots = await self.list(str(tag), start=now_ns - LATE_NS, end=now_ns) if ask.of else ()
            return next((lot for lot in lots if lot["lot"] == ask.of), None)

        await self._desk.say(tag, COMMAND, event, msgspec.to_builtins(ask), before)
        return ask.id
