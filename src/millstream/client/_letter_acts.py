"""What people do with dead letters, told to the audit: putting them right and sending them, or letting them go."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from millstream.client._deadletter import DeadLetter, read_letter, remove_letter
from millstream.client._streams import Streams
from millstream.kernel import NotFoundError
from millstream.model import TagPath
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Stored

if TYPE_CHECKING:
    from millstream.client._paths import Where

AUDIT_TYPE = "millstream.audit.dead_letter"
Replay = Callable[..., Awaitable[Stored]]
Places = Callable[[], Awaitable[Mapping[str, str]]]


class Tell(Protocol):
    """`Plant.event`."""

    async def __call__(self, path: Where, type: str, data: Any = None, *, id: str | None = None) -> Stored:
        """Store an event."""
        ...


class LetterActs:
    """`Plant.letters`. `places` gives the path of each node; each act is an event ``millstream.audit.dead_letter.…``
    at the letter's place, or that of its node."""

    def __init__(self, streams: Streams, replay: Replay, tell: Tell, places: Places) -> None:
        self._streams = streams
        self._replay = replay
        self._tell = tell
        self._places = places

    async def replay(
        self, id: str, *, who: str, why: str = "", path: Where | None = None, payload: bytes | None = None,
        keep: bool = False,
    ) -> Stored:  # fmt: skip
        """As `Plant.replay`, and told: what was stored where, and whether somebody had changed the bytes. Raises
        NotFoundError for a letter that is gone, as one that was replayed is."""
        letter = await read_letter(self._streams, id)
        place = await self._place(letter)  # before anything is done
        stored = await self._replay(letter, path=path, payload=payload, keep=True)
        told = {"stored": f"{stored.stream}:{stored.last_seq}", "path": str(path or letter.path)}
        if payload is not None:
            told["repaired_sha256"] = hashlib.sha256(payload).hexdigest()
        await self._told(letter, place, "replayed", who, why, told)
        if not keep:
            await remove_letter(self._streams, letter.id)
        return stored

    async def drop(self, id: str, *, who: str, why: str) -> DeadLetter:
        """Take a letter out for good. It is told first, with its size and digest: killed between, it is still there,
        and dropping it again is told again. Raises NotFoundError."""
        letter = await read_letter(self._streams, id)
        await self._told(letter, await self._place(letter), "dropped", who, why, {})
        await remove_letter(self._streams, letter.id)
        return letter

    async def _told(
        self, letter: DeadLetter, place: str, outcome: str, who: str, why: str, more: Mapping[str, object]
    ) -> None:
        data = {
            "letter": letter.id, "source": letter.source, "node": letter.node, "code": letter.code,
            "reason": letter.reason, "time": format_time(letter.time_ns), "bytes": len(letter.payload),
            "sha256": hashlib.sha256(letter.payload).hexdigest(), "who": who, "why": why, **more,
        }  # fmt: skip
        id = f"{letter.id}|{letter.time_ns}|{outcome}"
        await self._tell(place, f"{AUDIT_TYPE}.{outcome}", data, id=id)

    async def _place(self, letter: DeadLetter) -> str:
        """Where it is told: at its own place, else at its node's, else where the plant begins."""
        if letter.path is not None:
            return str(TagPath.parse(letter.path).asset)
        places = await self._places()
        if letter.node in places:
            return places[letter.node]
        if not places:
            raise NotFoundError(
                "it is not known where to tell what becomes of this letter", where=f"dead letter {letter.id}",
                expected="a site that reports to this hub",
            )  # fmt: skip
        return min(places.values()).partition("/")[0]
