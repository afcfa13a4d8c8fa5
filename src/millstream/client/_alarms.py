"""Alarms as they stand, and what people ask of them: the same at an edge that is cut off and at its hub."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from millstream.client._desk_tools import DeskTools
from millstream.client._owners import nodes_above
from millstream.client._paths import Where, to_address, to_patterns
from millstream.client._streams import StoredFrame, newest
from millstream.client._times import Span, Time, to_span_ns, to_time_ns
from millstream.client._writes import me
from millstream.kernel import DecodeError, NotFoundError, PlantError
from millstream.model import TagPath
from millstream.protocols.alarm import (
    EVENT_TYPE,
    NOTIFY_TYPE,
    Action,
    AlarmAsk,
    AlarmNote,
    Notification,
    ask_event,
    check_ask,
    read_note,
)
from millstream.protocols.audit import act_data
from millstream.protocols.cloudevents import decode_event, encode_event, format_time
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_subject import decode_subject

LOOK_INTERVAL_S = 0.1
COMMAND = "alarm"
"""The command by which a hub has an edge ask."""


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One alarm at one moment (UTC ns): its path, how it stood, and which flow said it."""

    path: str
    time_ns: int
    flow: str
    note: AlarmNote

    def as_dict(self) -> dict[str, Any]:
        """The row as the CLI prints it with --json."""
        note = msgspec.to_builtins(self.note)
        return {"path": self.path, "time": format_time(self.time_ns), "flow": self.flow, **note}


class Alarms:
    """The alarms of what can be seen from here. Made by `Plant.alarms`."""

    def __init__(self, tools: DeskTools) -> None:
        self._streams, self._store, self._whom = tools.streams, tools.store, tools.whom
        self._commands, self._clock, self._acts = tools.commands, tools.clock, tools.acts

    async def list(self, *patterns: Where, is_all: bool = False) -> Sequence[AlarmRow]:
        """How each alarm stands, by path; without `is_all` those that are normal are left out."""
        frames = await self._last(to_patterns(patterns), "_alarm")
        rows = [row for frame in frames if (row := _row(frame)) is not None]
        return sorted((r for r in rows if is_all or r.note.state != "normal"), key=lambda row: row.path)

    async def history(self, *patterns: Where, start: Time = "-1d", end: Time = "now") -> Sequence[AlarmRow]:
        """All that happened to alarms in this time, oldest first, as far as the node's streams reach back."""
        now_ns = self._clock.now_ns()
        start_ns, end_ns = to_time_ns(start, now_ns), to_time_ns(end, now_ns)
        rows: list[AlarmRow] = []
        for stream in await self._streams.of_data():
            for subject in await self._subjects(stream, to_patterns(patterns), "_alarm"):
                async for frame in self._streams.since(stream, subject, start_ns):
                    row = _row(frame)
                    if row is not None and start_ns <= row.time_ns < end_ns:
                        rows.append(row)
        return sorted(rows, key=lambda row: row.time_ns)

    async def notifications(self, since_ns: int, *patterns: Where) -> Sequence[tuple[int, Notification]]:
        """What flows `notify` have said under these paths, stored since then (UTC ns), in order, each with the time at
        which it was stored."""
        frames: list[StoredFrame] = []
        for stream in await self._streams.of_data():
            for subject in await self._subjects(stream, to_patterns(patterns), "_event"):
                frames += [frame async for frame in self._streams.since(stream, subject, since_ns)]
        frames.sort(key=lambda frame: (frame.time_ns, frame.seq))
        return [(frame.time_ns, told) for frame in frames if (told := _notification(frame)) is not None]

    async def ask(
        self, row: AlarmRow, action: Action, *, who: str | None = None, why: str = "", shelf: Span | None = None,
        id: str | None = None,
    ) -> str:  # fmt: skip
        """Ask something of an alarm as `list` gave it; returns the id once that is on disk. Of an edge's alarm a hub
        keeps it until the edge has taken it. An acknowledgement is for the occurrence of the row. `shelf` is how
        long to shelve it. The same `id` again counts once. Raises DecodeError, NotFoundError, Unreachable."""
        until_ns = 0 if shelf is None else self._clock.now_ns() + to_span_ns(shelf)
        count = row.note.count if action == "acknowledge" else 0
        asked = check_ask(
            msgspec.to_builtins(AlarmAsk(id or str(uuid.uuid4()), action, who or me(), why, until_ns, count))
        )
        role, name = await self._whom()
        nodes = [name] if role == "edge" else await self._nodes(row)
        if nodes == [name]:
            subject, event = ask_event(row.path, asked, self._clock.now_ns())
            headers, payload = encode_event(event)
            stored = self._store(subject, payload, {**headers, "Nats-Msg-Id": f"alarm|{asked.id}"})
            place = str(TagPath.parse(row.path).asset)
            await self._acts.asked(COMMAND, self._told(row, asked), place=place, id=asked.id, act=stored)
            return asked.id
        args = {k: v for k, v in msgspec.to_builtins(asked).items() if k not in ("id", "who")} | {"alarm": row.path}
        await self._commands.send(COMMAND, args, nodes=nodes, who=asked.who, key=asked.id, expires="7d")
        return asked.id

    def _told(self, row: AlarmRow, asked: AlarmAsk) -> Mapping[str, Any]:
        after: dict[str, Any] = {"action": asked.action}
        if asked.until_ns:
            after["until"] = format_time(asked.until_ns)
        before = {name: value for name, value in msgspec.to_builtins(row.note).items() if value not in (None, "")}
        return act_data(
            asked.who, self._acts.origin, before, after, path=row.path, why=asked.why or None, id=asked.id
        )  # fmt: skip

    async def outcome(self, row: AlarmRow, id: str, *, timeout_s: float = 10.0) -> AlarmRow | None:
        """How the alarm stands once it has taken what was asked; None when it has not by then. Raises PlantError when
        it was refused."""
        pattern = [Pattern.parse(row.path)]
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for frame in await self._last(pattern, "_alarm"):
                        found = _row(frame)
                        if found is not None and found.note.id == id:
                            return found
                    for frame in await self._last(pattern, "_event"):
                        _raise_refused(frame, id)
                    await asyncio.sleep(LOOK_INTERVAL_S)
        except TimeoutError:
            return None

    async def _nodes(self, row: AlarmRow) -> Sequence[str]:
        """Which nodes run the flow that said it. Raises NotFoundError."""
        nodes = await nodes_above(self._streams, TagPath.parse(row.path).asset.levels, row.flow)
        if not nodes:
            raise NotFoundError("no node has said that it runs this flow", where=row.path, got=row.flow, code="MS-2702")
        return nodes

    async def _subjects(self, stream: str, patterns: Sequence[Pattern], contract: str) -> Sequence[str]:
        found: set[str] = set()
        for pattern in patterns:
            subjects = await self._streams.subjects(stream, pattern.subject_filter(contract))
            found.update(
                subject
                for subject in subjects
                if (address := to_address(subject)) is not None
                and address.contract == contract
                and pattern.matches(address)
            )
        return sorted(found)

    async def _last(self, patterns: Sequence[Pattern], contract: str) -> Sequence[StoredFrame]:
        frames: list[StoredFrame] = []
        for stream in await self._streams.of_data(with_local=True):
            frames += await self._streams.last(stream, await self._subjects(stream, patterns, contract))
        return tuple(newest(frames).values())


def _row(frame: StoredFrame) -> AlarmRow | None:
    """None: an alarm of another form, such as those of connectors."""
    try:
        event = decode_event(frame.headers, frame.payload)
    except DecodeError:
        return None
    note = read_note(event.data) if event.type.startswith(f"{EVENT_TYPE}.") else None
    if note is None:
        return None
    time_ns = event.time_ns if event.time_ns is not None else frame.time_ns
    flow = [*event.source.split("/"), "", ""][2]  # empty: another program told it in this form
    return AlarmRow(str(decode_subject(frame.subject).tag), time_ns, flow, note)


def _notification(frame: StoredFrame) -> Notification | None:
    try:
        event = decode_event(frame.headers, frame.payload)
        return msgspec.convert(event.data, Notification) if event.type == NOTIFY_TYPE else None
    except (DecodeError, msgspec.ValidationError):
        return None


def _raise_refused(frame: StoredFrame, id: str) -> None:
    try:
        event = decode_event(frame.headers, frame.payload)
    except DecodeError:
        return
    if event.type == f"{EVENT_TYPE}.refused" and isinstance(event.data, dict) and event.data.get("id") == id:
        raise PlantError(
            "the alarm does not allow this now", where=str(event.data.get("alarm")),
            got=str(event.data.get("reason")), code="MS-2703",
        )  # fmt: skip
