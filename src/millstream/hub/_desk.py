"""What the hub's desks for people have in common: what they work with, and how they say no."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from millstream.bus import RawConnection
from millstream.historian import Reply, RequestHandler
from millstream.hub._authors import Authors
from millstream.kernel import AuthError, Clock, PlantError
from millstream.model import AssetPath
from millstream.protocols.config_desk import ERROR, STATUS

DONE = ((STATUS, "done"),)
PART = ((STATUS, "part"),)
Answer = Callable[[AssetPath | None, bytes], AsyncGenerator[Reply, None]]
"""From the path below which it was asked, and the question, to the replies."""


@dataclass(frozen=True, slots=True)
class PeopleAudit:
    """Where it is told who did what (`tell`: what, outcome, data), and of refusals, of which there may be many
    (`gather`: what, data)."""

    tell: Callable[[str, str, Mapping[str, object]], Awaitable[None]]
    gather: Callable[[str, Mapping[str, object]], None]


@dataclass(frozen=True, slots=True)
class DeskAround:
    """What a desk works with: the sites (name -> path), and who may sign as the operator says now."""

    connection: RawConnection
    places: Callable[[], Mapping[str, str]]
    authors: Authors
    audit: PeopleAudit
    clock: Clock


def below(around: DeskAround, what: str, answer: Answer) -> Callable[[AssetPath | None], RequestHandler]:
    """Who answers what was asked below a path. A signature that is refused is told to the audit."""

    def bounded(root: AssetPath | None) -> RequestHandler:
        """For one path."""

        async def handle(payload: bytes) -> AsyncGenerator[Reply, None]:
            """The replies, or the error."""
            try:
                async for reply in answer(root, payload):
                    yield reply
            except PlantError as error:
                if isinstance(error, AuthError):
                    data = {"reason": error.what, "subject": error.where, "got": error.got, "place": str(root or "")}
                    around.audit.gather(what, {**data, "code": error.code})
                yield Reply(b"", ((ERROR, msgspec.json.encode(error.as_dict()).decode()), *DONE))

        return handle

    return bounded
