"""Asking the hub's desks, as people do who have no rights in its buckets: each question bears a place."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from millstream.bus._link import Frame, Link
from millstream.client._below import places_asked
from millstream.client._fleet_data import raise_reported
from millstream.kernel import Unreachable
from millstream.protocols.below import EVERYWHERE, below_subject
from millstream.protocols.config_desk import STATUS, encode_ask

DESK_TIMEOUT_S = 15.0
TRIES_COUNT = 4  # of a question that may be asked again, over a bad link


async def ask_desk(link: Link, what: str, place: str, ask: msgspec.Struct, body: bytes = b"") -> list[Frame]:
    """All parts of an answer. Raises PlantError as the desk tells it, Unreachable."""
    asked = link.request_many(below_subject(what, place), encode_ask(ask, body), timeout_s=DESK_TIMEOUT_S)
    return [frame async for frame in _parts(asked)]


async def ask_again(link: Link, what: str, place: str, ask: msgspec.Struct, body: bytes = b"") -> list[Frame]:
    """As `ask_desk`, for what does no harm when it comes twice: a lost answer is asked for again."""
    for _ in range(TRIES_COUNT - 1):
        try:
            return await ask_desk(link, what, place, ask, body)
        except Unreachable:
            continue
    return await ask_desk(link, what, place, ask, body)


async def _parts(asked: AsyncGenerator[Frame, None]) -> AsyncGenerator[Frame, None]:
    async with aclosing(asked) as replies:
        async for reply in replies:
            raise_reported(reply)
            yield reply
            if reply.headers.get(STATUS) == "done":
                return


def places_of(link: Link) -> Sequence[str]:
    """Where this log-in may ask, as subjects."""
    return places_asked(link) or (EVERYWHERE,)


def place_of_all(link: Link, subjects: Mapping[str, str]) -> str | None:
    """The one place of this log-in below which all these lie (name -> subject); None: there is none."""
    for place in places_of(link):
        if all(f"{subject}.".startswith(f"{place}.") for subject in subjects.values()):
            return place
    return None
