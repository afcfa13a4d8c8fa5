"""What flows tell of machines as events, and what people say to those flows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from millstream.client._commands import Commands
from millstream.client._owners import nodes_above
from millstream.client._paths import Where, to_address
from millstream.client._streams import Store, StoredFrame, Streams, Whom
from millstream.kernel import Clock, DecodeError, PlantError
from millstream.model import TagPath
from millstream.protocols.cloudevents import CloudEvent, decode_event, encode_event
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_subject import decode_subject

LOOK_INTERVAL_S = 0.1
SAID_NS = 60 * 10**9  # so long before an outcome is asked for it may have been stored


class FlowDesk:
    """Of what can be seen from here."""

    def __init__(self, streams: Streams, store: Store, whom: Whom, commands: Commands, clock: Clock) -> None:
        self._streams, self._store, self._whom = streams, store, whom
        self._commands, self._clock = commands, clock

    async def say(
        self, tag: TagPath, command: str, said: tuple[str, CloudEvent], ask: Mapping[str, Any]
    ) -> None:  # fmt: skip
        """Store what somebody says where its flow reads it: here, or by a command to the edge that has the place. The
        same id counts once. Raises NotFoundError, Unreachable."""
        role, name = await self._whom()
        nodes = [name] if role == "edge" else await nodes_above(self._streams, tag.asset.levels)
        edge = next((node for node in nodes if node != name), None)
        if edge is None:
            subject, event = said
            headers, payload = encode_event(event)
            await self._store(subject, payload, {**headers, "Nats-Msg-Id": f"{command}|{event.id}"})
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
