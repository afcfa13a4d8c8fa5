"""What flows tell of machines as events, and what people say to those flows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millstream.client._desk_tools import DeskTools
from millstream.client._history import stored_event
from millstream.client._owners import nodes_above
from millstream.client._paths import Where, to_address
from millstream.client._streams import StoredFrame
from millstream.kernel import DecodeError, NotFoundError, PlantError
from millstream.model import TagPath
from millstream.protocols.audit import act_data
from millstream.protocols.cloudevents import CloudEvent, decode_event, encode_event, format_time, parse_time_ns
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_subject import decode_subject

LOOK_INTERVAL_S = 0.1
SAID_NS = 60 * 10**9  # so long before an outcome is asked for it may have been stored
TAGS_MAX = 1000  # of one question to the history
ROWS_MAX = 20_000  # of one answer
PAGES_MAX = 1000  # of answers to one question


@dataclass(frozen=True, slots=True)
class Told:
    """Events with their paths in the order in which they were stored. What was stored before `since_ns` (UTC) is no
    more, and `why` the history does not have it either; None: all that was ever told is here."""

    events: Sequence[tuple[str, CloudEvent]]
    since_ns: int | None = None
    why: str = ""

    @property
    def doubt(self) -> str:
        """The same for people; "" when nothing is missing."""
        if self.since_ns is None:
            return ""
        return (
            f"the streams reach back to {format_time(self.since_ns)[:19]}Z, and the history was of no help: {self.why}"
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """Rows of a time. What was stored before `since_ns` (UTC) may be missing, `doubt` says why; None: nothing is."""

    rows: Sequence[Mapping[str, Any]]
    since_ns: int | None = None
    doubt: str = ""

    @property
    def since(self) -> str | None:
        """`since_ns` as RFC 3339."""
        return None if self.since_ns is None else format_time(self.since_ns)


Before = Callable[[], Awaitable[Mapping[str, Any] | None]]


class FlowDesk:
    """Of what can be seen from here, and of what the streams hold no more."""

    def __init__(self, tools: DeskTools) -> None:
        self._streams, self._store, self._whom = tools.streams, tools.store, tools.whom
        self._commands, self._clock, self._acts = tools.commands, tools.clock, tools.acts
        self._historian = tools.historian

    async def say(
        self, tag: TagPath, command: str, said: tuple[str, CloudEvent], ask: Mapping[str, Any], before: Before
    ) -> None:  # fmt: skip
        """Store what somebody says where its flow reads it: here, or by a command to the edge that has the place. The
        same id counts once. Here it is told with how that of which something is said stands (`before`); a command is
        told by the hub. Raises NotFoundError, Unreachable."""
        role, name = await self._whom()
        nodes = [name] if role == "edge" else await nodes_above(self._streams, tag.asset.levels)
        edge = next((node for node in nodes if node != name), None)
        if edge is None:
            subject, event = said
            headers, payload = encode_event(event)
            after = {name: value for name, value in ask.items() if name not in ("id", "who", "why") and value}
            told = act_data(
                ask["who"],
                self._acts.origin,
                await before(),
                after,
                path=str(tag),
                why=ask.get("why"),
                id=ask["id"],
            )
            stored = self._store(subject, payload, {**headers, "Nats-Msg-Id": f"{command}|{event.id}"})
            await self._acts.asked(command, told, place=str(tag.asset), id=ask["id"], act=stored)
            return
        args = {k: v for k, v in ask.items() if k not in ("id", "who")} | {"path": str(tag)}
        await self._commands.send(command, args, nodes=[edge], who=ask["who"], key=ask["id"], expires="7d")

    async def outcome(
        self, path: Where, id: str, type: str, refused: str, code: str, timeout_s: float
    ) -> Mapping[str, Any] | None:
        """What the flow told with this id; None when it has not by then. Raises PlantError when it refused."""
        begun_ns = self._clock.now_ns() - SAID_NS
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    found = await self.events([Pattern.parse(path)], begun_ns, f"{type}*")
                    told = [event for _, event in found if event.data.get("id") == id]
                    if told and told[-1].type != type:
                        raise PlantError(refused, where=str(path), got=str(told[-1].data.get("reason")), code=code)
                    if told:
                        return dict(told[-1].data)
                    await asyncio.sleep(LOOK_INTERVAL_S)
        except TimeoutError:
            return None

    async def told(
        self, patterns: Sequence[Pattern], since_ns: int, type: str, *, fits: Callable[[TagPath], bool] | None = None
    ) -> Told:  # fmt: skip
        """Events of a type as `events` gives them; where the streams have dropped some of that time, those of the
        history before them. `fits` says which paths are wanted, where many others have events too."""
        found = await self.events(patterns, since_ns, type)
        reach_ns = await self._reach_ns(patterns)
        if reach_ns is None or reach_ns <= since_ns:
            return Told(found)
        try:
            older = await self._recorded(patterns, since_ns, type, fits)
        except PlantError as error:
            return Told(found, reach_ns, error.what)
        return Told([*older, *found])

    async def _reach_ns(self, patterns: Sequence[Pattern]) -> int | None:
        """Since when the streams with such events hold what was stored; None: since ever."""
        streams = await self._streams.of_data()
        holding = [stream for stream in streams if await self._subjects(stream, patterns)]
        reach_ns = None
        for stream in holding or streams:
            state = (await self._streams.info(stream)).get("state", {})
            first_seq, last_seq = int(state.get("first_seq", 0)), int(state.get("last_seq", 0))
            if first_seq <= 1:
                continue
            is_empty = first_seq > last_seq
            first_ns = self._clock.now_ns() if is_empty else parse_time_ns(str(state["first_ts"]))
            reach_ns = max(reach_ns or 0, first_ns)
        return reach_ns

    async def _recorded(
        self, patterns: Sequence[Pattern], since_ns: int, type: str, fits: Callable[[TagPath], bool] | None
    ) -> list[tuple[str, CloudEvent]]:  # fmt: skip
        """What the history has, by path and time, as it was put right. Raises PlantError."""
        try:
            names = await self._historian.resolve(patterns, "event")
        except NotFoundError:
            return []
        names = [name for name in names if fits is None or fits(TagPath.parse(name))]
        found: list[tuple[str, CloudEvent]] = []
        for at in range(0, len(names), TAGS_MAX):
            found += await self._recorded_of(names[at : at + TAGS_MAX], since_ns, type)
        return found

    async def _recorded_of(self, names: Sequence[str], since_ns: int, type: str) -> list[tuple[str, CloudEvent]]:
        request = {"kind": "events", "data_kind": "event", "tags": list(names), "type": type, "limit": ROWS_MAX}
        found: dict[tuple[str, str, str, int | None], tuple[str, CloudEvent]] = {}
        for _ in range(PAGES_MAX):
            table = await self._historian.ask({**request, "start_ns": since_ns, "end_ns": self._clock.now_ns()})
            at = table.schema.get_field_index("timestamp")
            rows = table.set_column(at, "timestamp", table.column(at).cast("int64")).to_pylist() if at >= 0 else []
            for row in rows:
                event = stored_event(row)
                if isinstance(event.data, dict):
                    found[row["tag"], event.source, event.id, event.time_ns] = (row["tag"], event)
            if len(rows) < ROWS_MAX:
                return list(found.values())
            if rows[-1]["timestamp"] == since_ns:
                break
            since_ns = rows[-1]["timestamp"]  # what is of the same moment comes again
        raise PlantError(
            "there is too much of it", got=f"{ROWS_MAX} events of one moment", next_step="ask for fewer places"
        )

    async def events(
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
