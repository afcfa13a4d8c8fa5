"""Stops of machines as people have put them right, what they say of them, and why a figure is what it is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from millstream.client._context import PlantContext
from millstream.client._desk_tools import DeskTools
from millstream.client._flow_desk import FlowDesk, Listed
from millstream.client._part_quality import PartQuality
from millstream.client._paths import Where, to_patterns
from millstream.client._times import Span, Time, to_span_ns, to_time_ns
from millstream.client._writes import me
from millstream.kernel import NotFoundError
from millstream.model import TagPath
from millstream.protocols.cloudevents import parse_time_ns
from millstream.protocols.uns_pattern import Pattern
from millstream.shop import (
    STOP_TYPE,
    Presence,
    StopAction,
    StopAsk,
    check_stop_ask,
    present_data,
    read_presences,
    stop_ask_event,
)

COMMAND = "downtime"
"""The command by which a hub has an edge store what is said of a stop."""
OEE_TYPE = "millstream.oee"
OEE_TOTAL_TYPE = "millstream.oee.total"
ENERGY_TYPE = "millstream.energy"
_EXPLAINED = frozenset({OEE_TYPE, OEE_TOTAL_TYPE, ENERGY_TYPE})
LISTED_MAX = 100  # stops and rejects of a place with many machines: the longest, the most
_ENERGY_NAMES = {
    "energy": ("energy_wh", "Wh"), "per_part": ("per_part_wh", "Wh"), "idle": ("idle_wh", "Wh"),
    "power": ("mean_w", "W"),
}  # fmt: skip
"""What a figure of the flow `energy` is called in the event of its window, and its unit."""
LATE_NS = 3 * 86_400 * 10**9  # so long after its time a window or stop may be put right


class Downtime:
    """The stops of what can be seen from here. Made by `Plant.downtime`."""

    def __init__(self, tools: DeskTools) -> None:
        self._clock, self._desk = tools.clock, FlowDesk(tools)
        self._context, self._quality = PlantContext(tools), PartQuality(tools)

    async def people(self) -> Sequence[Presence]:
        """Who was at which machine, as it was told as context, by time."""
        return read_presences((fact.path, fact.data) for fact in await self._context.list(what="operator"))

    async def list(
        self, *patterns: Where, start: Time = "-1d", end: Time = "now", lasts: Span | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of `listed`."""
        return (await self.listed(*patterns, start=start, end=end, lasts=lasts)).rows

    async def listed(
        self, *patterns: Where, start: Time = "-1d", end: Time = "now", lasts: Span | None = None
    ) -> Listed:  # fmt: skip
        """Stops that have a part in this time, as they were put right last, oldest first, each with its `path`; with
        `lasts` those that last so long at least. What the node's streams hold no more is of its history, and where that
        cannot be asked the list says since when it is whole."""
        now_ns = self._clock.now_ns()
        start_ns, end_ns = to_time_ns(start, now_ns), to_time_ns(end, now_ns)
        newest: dict[tuple[str, str], Mapping[str, Any]] = {}
        told = await self._desk.told(to_patterns(patterns), start_ns - LATE_NS, STOP_TYPE)
        for path, event in told.events:
            newest[path, str(event.data["start"])] = {"path": path, **event.data}
        shortest_s = 0.0 if lasts is None else to_span_ns(lasts) / 1e9
        found = [stop for stop in newest.values() if not stop.get("removed") and _touches(stop, start_ns, end_ns)]
        lasting = (s for s in found if s.get("duration_s") is None or s["duration_s"] >= shortest_s)
        return Listed(sorted(lasting, key=lambda s: s["start"]), told.since_ns, told.doubt)

    async def ask(
        self, path: Where, action: StopAction, at: Time, *, reason: str = "", category: str = "", why: str = "",
        who: str | None = None, id: str | None = None,
    ) -> str:  # fmt: skip
        """Say something of the stop of `path` (``acme/plant1/press:downtime``) in which `at` lies: its reason (`clear`
        takes it back), a cut there, or that it is one with the stop before it. Returns the id once that is on disk; the
        same id counts once. Raises DecodeError, NotFoundError, Unreachable."""
        at_ns, tag = to_time_ns(at, self._clock.now_ns()), Pattern.parse(path).tag
        said = StopAsk(id or str(uuid.uuid4()), action, who or me(), at_ns, reason, why, category)
        ask = check_stop_ask(msgspec.to_builtins(said))
        event = stop_ask_event(str(tag), ask, self._clock.now_ns())

        async def before() -> Mapping[str, Any] | None:
            """The stop that is meant."""
            found = await self.list(str(tag), start=at_ns, end=at_ns + 1)
            return found[-1] if found else None

        await self._desk.say(tag, COMMAND, event, msgspec.to_builtins(ask), before)
        return ask.id

    async def outcome(self, path: Where, id: str, *, timeout_s: float = 10.0) -> Mapping[str, Any] | None:
        """The stop once its flow has taken what was said; None when it has not by then. Raises PlantError when it was
        refused."""
        return await self._desk.outcome(path, id, STOP_TYPE, "the stop does not allow this", "MS-2721", timeout_s)

    async def why(self, path: Where, at: Time = "now") -> Mapping[str, Any]:
        """All that a figure of `oee` or `energy` is made of: the newest revision of its window that `at` lies in (or
        that ended last before it), the stops in it, and who was at the machine. `path` is the figure's, such as
        ``acme/plant1/press:oee/shift/availability``. Of a place (`oee_total`) with the machines or places below it that
        lost most, and of stops and rejects the 100 largest. `doubt` is there where the history could not be asked for
        what the streams hold no more. Raises NotFoundError."""
        at_ns, tag = to_time_ns(at, self._clock.now_ns()), Pattern.parse(path).tag
        doubt = ""
        for names in (tag.names[:-1], tag.names):
            if not names:
                continue
            window = Pattern.parse(TagPath(tag.asset, names))
            found = await self._desk.told([window], at_ns - LATE_NS, "millstream.*")
            doubt = doubt or found.doubt
            told = [event.data for _, event in found.events if event.type in _EXPLAINED]
            windows = [data for data in told if parse_time_ns(data["start"]) <= at_ns]
            if windows:
                last = max(data["start"] for data in windows)
                data = [each for each in windows if each["start"] == last][-1]
                start_ns, end_ns = parse_time_ns(data["start"]), parse_time_ns(data["end"])
                in_it = await self.listed(str(tag.asset), start=start_ns, end=end_ns)
                stops, doubt = in_it.rows, found.doubt or in_it.doubt
                there = present_data(await self.people(), tag.asset.levels, start_ns, end_ns)
                name, unit = _ENERGY_NAMES.get(tag.names[-1], (tag.names[-1], None))
                value = {"value": data.get(name)} if unit is None else {"value": data.get(name), "unit": unit}
                rejects = await self._quality.list(str(tag.asset), start=start_ns, end=end_ns)
                if len(stops) > LISTED_MAX:
                    stops = sorted(stops, key=_lasts_s, reverse=True)[:LISTED_MAX]
                if len(rejects) > LISTED_MAX:
                    rejects = sorted(rejects, key=_count_of, reverse=True)[:LISTED_MAX]
                return {
                    "path": str(tag), **value, **data, "stops": list(stops), "rejects": list(rejects),
                    "operators": there, **({"doubt": doubt} if doubt else {}),
                }  # fmt: skip
        raise NotFoundError(
            "no window of this figure is known", where=str(tag),
            expected="a figure that the flow `oee`, `oee_total` or `energy` gives", got=doubt or None,
            next_step="`millstream tree --kind kpi` lists them; live figures are explained with `explain` in the flow, "
            "else once their window is over",
        )  # fmt: skip


def _lasts_s(stop: Mapping[str, Any]) -> float:
    """One that goes on is the longest."""
    lasts = stop.get("duration_s")
    return float("inf") if lasts is None else float(lasts)


def _count_of(lot: Mapping[str, Any]) -> float:
    return float(lot.get("count") or 0)


def _touches(stop: Mapping[str, Any], start_ns: int, end_ns: int) -> bool:
    begins = parse_time_ns(str(stop["start"]))
    ends = parse_time_ns(str(stop["end"])) if stop.get("end") else end_ns
    return begins < end_ns and start_ns < max(ends, begins + 1)
