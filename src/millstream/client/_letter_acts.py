"""What people do with dead letters, told to the audit: putting them right and sending them, or letting them go."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from millstream.client._deadletter import DeadLetter, read_letter, remove_letter
from millstream.client._desk_tools import DeskTools
from millstream.model import TagPath
from millstream.protocols.audit import act_data
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Stored

if TYPE_CHECKING:
    from millstream.client._paths import Where

WHAT = "dead_letter"
Replay = Callable[..., Awaitable[Stored]]


class LetterActs:
    """`Plant.letters`. Each act is an event ``millstream.audit.dead_letter.…`` at the letter's place, or that of its
    node."""

    def __init__(self, tools: DeskTools, replay: Replay) -> None:
        self._streams, self._acts, self._replay = tools.streams, tools.acts, replay

    async def replay(
        self, id: str, *, who: str, why: str = "", path: Where | None = None, payload: bytes | None = None,
        keep: bool = False,
    ) -> Stored:  # fmt: skip
        """As `Plant.replay`, and told: what was stored where, and whether somebody had changed the bytes. Raises
        NotFoundError for a letter that is gone, as one that was replayed is."""
        letter = await read_letter(self._streams, id)
        place = await self._place(letter)  # before anything is done
        stored = await self._replay(letter, path=path, payload=payload, keep=True)
        sent = letter.payload if payload is None else payload
        told = {
            "path": str(path or letter.path), "bytes": len(sent), "sha256": hashlib.sha256(sent).hexdigest(),
            "stored": f"{stored.stream}:{stored.last_seq}", "is_kept": keep,
        }  # fmt: skip
        await self._told(letter, place, "replayed", who, why, told)
        if not keep:
            await remove_letter(self._streams, letter.id)
        return stored

    async def drop(self, id: str, *, who: str, why: str) -> DeadLetter:
        """Take a letter out for good. It is told first, with its size and digest: killed between, it is still there,
        and dropping it again is told again. Raises NotFoundError."""
        letter = await read_letter(self._streams, id)
        await self._told(letter, await self._place(letter), "dropped", who, why, None)
        await remove_letter(self._streams, letter.id)
        return letter

    async def _told(
        self, letter: DeadLetter, place: str, outcome: str, who: str, why: str, after: Mapping[str, object] | None
    ) -> None:
        before = {
            "path": letter.path, "bytes": len(letter.payload), "sha256": hashlib.sha256(letter.payload).hexdigest(),
            "reason": letter.reason,
        }  # fmt: skip
        data = act_data(
            who, self._acts.origin, before, after, letter=letter.id, source=letter.source, node=letter.node,
            code=letter.code, time=format_time(letter.time_ns), why=why,
        )  # fmt: skip
        await self._acts.tell(WHAT, outcome, data, place=place, id=f"{letter.id}|{letter.time_ns}|{outcome}")

    async def _place(self, letter: DeadLetter) -> str:
        """Where it is told: at its own place, else at its node's, else where the plant begins."""
        if letter.path is not None:
            return str(TagPath.parse(letter.path).asset)
        return await self._acts.place_of(letter.node)
