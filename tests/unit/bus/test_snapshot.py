"""What a restore does when the box that is asked does not know yet who takes the parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from millstream.bus import _snapshot
from millstream.bus._snapshot import SnapshotHead, give_snapshot
from millstream.bus._transport import NobodyAnswers, Transport


class Boxes:
    """Answers as JetStream does; the first parts meet a box that has not heard who takes them."""

    prefix, replicas, where = "$JS.API", 3, "test"

    def __init__(self, unheard_count: int) -> None:
        self.unheard_count = unheard_count
        self.parts: list[bytes] = []

    async def request(self, subject: str, payload: bytes = b"", **_: Any) -> tuple[object, ...]:
        if subject.startswith("$JS.API.STREAM.RESTORE"):
            return _answer(b'{"type": "x", "deliver_subject": "parts"}')
        if self.unheard_count > 0:
            self.unheard_count -= 1
            raise NobodyAnswers("nobody answers this request", where="test")
        self.parts.append(payload)
        return _answer(b"" if payload else b'{"type": "x", "state": {"messages": 2}}')


def _answer(payload: bytes) -> tuple[object, ...]:
    return (b"", 0, None, None, payload)


async def _chunks() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


async def test_a_part_that_nobody_got_is_given_again_and_each_part_once() -> None:
    boxes = Boxes(unheard_count=3)
    state = await give_snapshot(cast("Transport", boxes), "S", SnapshotHead({"name": "S"}, {}), _chunks())
    assert (state, boxes.parts) == ({"messages": 2}, [b"one", b"two", b""])


async def test_a_restore_that_nobody_takes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_snapshot, "KNOWN_S_MAX", 0.1)
    with pytest.raises(NobodyAnswers):
        await give_snapshot(cast("Transport", Boxes(10**6)), "S", SnapshotHead({"name": "S"}, {}), _chunks())
