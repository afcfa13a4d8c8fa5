"""Stops of machines as people have put them right, what they say of them, and why a figure is what it is."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from millstream.client._commands import Commands
from millstream.client._context import PlantContext
from millstream.client._owners import nodes_above
from millstream.client._paths import Where, to_address, to_patterns
from millstream.client._streams import Store, StoredFrame, Streams, Whom
from millstream.client._times import Span, Time, to_span_ns, to_time_ns
from millstream.client._writes import me
from millstream.kernel import Clock, DecodeError, NotFoundError, PlantError
from millstream.model import TagPath
from millstream.protocols.cloudevents import CloudEvent, decode_event, encode_event, parse_time_ns
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_subject import decode_subject
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
ENERGY_TYPE = "millstream.energy"
_EXPLAINED = frozenset({OEE_TYPE, ENERGY_TYPE})
_ENERGY_NAMES = {
    "energy": ("energy_wh", "Wh"), "per_part": ("per_part_wh", "Wh"), "idle": ("idle_wh", "Wh"),
    "power": ("mean_w", "W"),
}  # fmt: skip
"""What a figure of the flow `energy` is called in the event of its window, and its unit."""
LOOK_INTERVAL_S = 0.1
LATE_NS = 3 * 86_400 * 10**9  # so long after its time a window or stop may be put right


class Downtime:
    """The stops of what can be seen from here. Made by `Plant.downtime`."""

    def __init__(self, streams: Streams, store: Store, whom: Whom, commands: Commands, clock: Clock) -> None:
        self._streams, self._store, self._whom = streams, store, whom
        self._commands, self._clock = commands, clock
        self._context = PlantContext(streams, store, whom, commands, clock)

    async def people(self) -> Sequence[Presence]:
        """Who was at which machine, as it was told as context, by time."""
        return read_presences((fact.path, fact.data) for fact in await self._context.list(what="operator"))

    async def list(
        self, *patterns: Where, start: Time = "-1d", end: Time = "now", lasts: Span | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Stops that have a part in this time, as they were put right last, oldest first, each with its `path`; with
        `lasts` those that last so long at least. As far as the node's streams reach back."""
        now_ns = self._clock.now_ns()
        start_ns, end_ns = to_time_ns(start, now_ns), to_time_ns(end, now_ns)
        newest: dict[tuple[str, str], Mapping[str, Any]] = {}
        for path, event in await self._events(to_patterns(patterns), start_ns - LATE_NS, STOP_TYPE):
            newest[path, str(event.data["start"])] = {"path": path, **event.data}
        shortest_s = 0.0 if lasts is None else to_span_ns(lasts) / 1e9
        found = [stop for stop in newest.values() if not stop.get("removed") and _touches(stop, start_ns, end_ns)]
        return sorted(
            (s for s in found if s.get("duration_s") is None or s["duration_s"] >= shortest_s), key=lambda s: s["start"]
        )

    async def ask(
        self, path: Where, action: StopAction, at: Time, *, reason: str = "", category: str = "", why: str = "",
        who: str | None = None, id: str | None = None,
    ) -> str:  # fmt: skip
        """Say something of the stop of `path` (``acme/plant1/press:downtime``) in which `at` lies: its reason, a cut
        there, or that it is one with the stop before it. Returns the id once that is on disk; the same id counts once.
        Raises DecodeError, NotFoundError, Unreachable."""
        at_ns, tag = to_time_ns(at, self._clock.now_ns()), Pattern.parse(path).tag
        said = StopAsk(id or str(uuid.uuid4()), action, who or me(), at_ns, reason, why, category)
        ask = check_stop_ask(msgspec.to_builtins(said))
        role, name = await self._whom()
        nodes = [name] if role == "edge" else await nodes_above(self._streams, tag.asset.levels)
        edge = next((node for node in nodes if node != name), None)
        if edge is None:
            subject, event = stop_ask_event(str(tag), ask, self._clock.now_ns())
            headers, payload = encode_event(event)
            await self._store(subject, payload, {**headers, "Nats-Msg-Id": f"downtime|{ask.id}"})
            return ask.id
        args = {k: v for k, v in msgspec.to_builtins(ask).items() if k not in ("id", "who")} | {"path": str(tag)}
        await self._commands.send(COMMAND, args, nodes=[edge], who=ask.who, key=ask.id, expires="7d")
        return ask.id

    async def outcome(self, path: Where, id: str, *, timeout_s: float = 10.0) -> Mapping[str, Any] | None:
        """The stop once its flow has taken what was said; None when it has not by then. Raises PlantError when it was
        refused."""
        begun_ns = self._clock.now_ns() - 60 * 10**9
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    found = await self._events([Pattern.parse(path)], begun_ns, f"{STOP_TYPE}*")
                    told = [event for _, event in found if event.data.get("id") == id]
                    if told and told[-1].type != STOP_TYPE:
                        reason = str(told[-1].data.get("reason"))
                        raise PlantError("the stop does not allow this", where=str(path), got=reason, code="MS-2721")
                    if told:
                        return dict(told[-1].data)
                    await asyncio.sleep(LOOK_INTERVAL_S)
        except TimeoutError:
            return None

    async def why(self, path: Where, at: Time = "now") -> Mapping[str, Any]:
        """All that a figure of `oee` or `energy` is made of: the newest revision of its window that `at` lies in (or
        that ended last before it), the stops in it, and who was at the machine. `path` is the figure's, such as
        ``acme/plant1/press:oee/shift/availability``. Raises NotFoundError."""
        at_ns, tag = to_time_ns(at, self._clock.now_ns()), Pattern.parse(path).tag
        for names in (tag.names[:-1], tag.names):
            if not names:
                continue
            window = Pattern.parse(TagPath(tag.asset, names))
            told = [
                event.data for _, event in await self._events([window], at_ns - LATE_NS, "millstream.*")
                if event.type in _EXPLAINED
            ]  # fmt: skip
            windows = [data for data in told if parse_time_ns(data["start"]) <= at_ns]
            if windows:
                last = max(data["start"] for data in windows)
                data = [each for each in windows if each["start"] == last][-1]
                start_ns, end_ns = parse_time_ns(data["start"]), parse_time_ns(data["end"])
                stops = await self.list(str(tag.asset), start=start_ns, end=end_ns)
                there = present_data(await self.people(), tag.asset.levels, start_ns, end_ns)
                name, unit = _ENERGY_NAMES.get(tag.names[-1], (tag.names[-1], None))
                value = {"value": data.get(name)} if unit is None else {"value": data.get(name), "unit": unit}
                return {"path": str(tag), **value, **data, "stops": list(stops), "operators": there}
        raise NotFoundError(
            "no window of this figure is known", where=str(tag),
            expected="a figure that the flow `oee` or `energy` gives",
            next_step="`millstream tree --kind kpi` lists them; live figures are explained once their window is over",
        )  # fmt: skip

    async def _events(
        self, patterns: Sequence[Pattern], since_ns: int, type: str
    ) -> Sequence[tuple[str, CloudEvent]]:  # fmt: skip
        """Events of a type in the order in which they were stored, with their paths."""
        frames: list[StoredFrame] = []
        for stream in await self._streams.of_data():
            for subject in await self._subjects(stream, patterns):
                frames += [frame async for frame in self._streams.since(stream, subject, since_ns)]
        found = []
        for frame in sorted(frames, key=lambda each: (each.time_ns, each.seq)):
            try:
                event = decode_event(frame.headers, frame.payload)
            except DecodeError:
                continue
            is_wanted = event.type.startswith(type[:-1]) if type.endswith("*") else event.type == type
            if is_wanted and isinstance(event.data, dict):
                found.append((str(decode_subject(frame.subject).tag), event))
        return found

    async def _subjects(self, stream: str, patterns: Sequence[Pattern]) -> Sequence[str]:
        found = {s for p in patterns for s in await self._streams.subjects(stream, p.subject_filter("_event"))}
        return [
            subject for subject in sorted(found)
            if (address := to_address(subject)) is not None and any(p.matches(address) for p in patterns)
        ]  # fmt: skip


def _touches(stop: Mapping[str, Any], start_ns: int, end_ns: int) -> bool:
    begins = parse_time_ns(str(stop["start"]))
    ends = parse_time_ns(str(stop["end"])) if stop.get("end") else end_ns
    return begins < end_ns and start_ns < max(ends, begins + 1)
