"""What the hub's desks for people have in common: what they work with, and how they say no."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from millstream.bus import RawConnection
from millstream.historian import Reply, RequestHandler
from millstream.hub._authors import Authors
from millstream.kernel import AuthError, Clock, DecodeError, PlantError
from millstream.model import AssetPath
from millstream.protocols.config_desk import ERROR, STATUS

DONE = ((STATUS, "done"),)
PART = ((STATUS, "part"),)


@dataclass(frozen=True, slots=True)
class Asker:
    """Where a question was asked: below `root` (None: anywhere), by a client at `origin`, an address."""

    root: AssetPath | None
    origin: str = ""


Answer = Callable[[Asker, bytes], AsyncGenerator[Reply, None]]
"""From who asks, and the question, to the replies."""


class TellAct(Protocol):
    """what, outcome, data; what bears the same `once` is told once."""

    def __call__(self, what: str, outcome: str, data: Mapping[str, object], once: str = "") -> Awaitable[object]:
        """Tell it."""
        ...


@dataclass(frozen=True, slots=True)
class PeopleAudit:
    """Where it is told who did what (`tell`: what, outcome, data), and of refusals, of which there may be many
    (`gather`: what, data)."""

    tell: TellAct
    gather: Callable[[str, Mapping[str, object]], None]


@dataclass(frozen=True, slots=True)
class DeskAround:
    """What a desk works with: the sites (name -> path), and who may sign as the operator says now."""

    connection: RawConnection
    places: Callable[[], Mapping[str, str]]
    authors: Authors
    audit: PeopleAudit
    clock: Clock


def once_of(around: DeskAround, name: str) -> str:
    """By which id an act of nobody's place is told, as who does it with the hub's own rights tells it: where the plant
    begins."""
    return f"/{min(around.places().values(), default='').partition('/')[0]}|{name}"


def below(around: DeskAround, what: str, answer: Answer) -> Callable[[Asker], RequestHandler]:
    """Who answers what was asked below a path. A signature that is refused, and what is malformed, oversized or for
    another site, is told to the audit."""

    def bounded(asker: Asker) -> RequestHandler:
        """For one path."""

        async def handle(payload: bytes) -> AsyncGenerator[Reply, None]:
            """The replies, or the error."""
            try:
                async for reply in answer(asker, payload):
                    yield reply
            except PlantError as error:
                if isinstance(error, (AuthError, DecodeError)):
                    place = str(asker.root or "")
                    data = {"reason": error.what, "subject": error.where, "got": error.got, "place": place}
                    if asker.origin:
                        data["host"] = asker.origin
                    around.audit.gather(what, {**data, "code": error.code})
                yield Reply(b"", ((ERROR, msgspec.json.encode(error.as_dict()).decode()), *DONE))

        return handle

    return bounded


def no_name(text: str) -> DecodeError:
    """The error of what cannot be the name of a site or roll-out: it might be a path, or another's subject."""
    return DecodeError(
        "not a name", got=repr(text)[:80], expected="1 to 32 of letters, digits, '_' and '-'", code="MS-2417"
    )  # fmt: skip
