"""Sending commands when the hub does not answer: what a person needs to send it again, and only once."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from millstream.bus._link import Frame
from millstream.client import Commands
from millstream.kernel import NotFoundError, Unreachable


class DeafLink:
    """Keeps what was asked; answers nothing for `deaf` times."""

    def __init__(self, deaf: int) -> None:
        self.deaf = deaf
        self.places: tuple[str, ...] = ()
        self.asked: list[dict[str, Any]] = []

    async def request(self, subject: str, payload: bytes = b"", **_: object) -> Frame:
        self.asked.append(msgspec.json.decode(payload))
        if len(self.asked) <= self.deaf:
            raise Unreachable("no answer in time", where=subject)
        return Frame(subject, msgspec.json.encode({"id": self.asked[-1]["id"]}), {})


async def hub() -> tuple[str, str]:
    return "hub", "h1"


async def edge() -> tuple[str, str]:
    return "edge", "e1"


def test_a_lost_answer_names_the_key_under_which_the_same_command_is_sent_again() -> None:
    link = DeafLink(1)
    commands = Commands(link, hub)  # type: ignore[arg-type]
    with pytest.raises(Unreachable, match="it is not known whether") as lost:
        asyncio.run(commands.send("diagnostics", nodes=["e1"]))
    key = link.asked[0]["id"]
    assert key in str(lost.value.next_step)
    assert asyncio.run(commands.send("diagnostics", nodes=["e1"], key=key)) == key
    assert link.asked[0] == link.asked[1]


def test_an_edge_keeps_no_commands_for_others() -> None:
    with pytest.raises(NotFoundError, match="MS-2309"):
        asyncio.run(Commands(DeafLink(0), edge).list())  # type: ignore[arg-type]
