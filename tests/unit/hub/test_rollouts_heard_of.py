"""A roll-out is heard of when it is sent, and carried out although it is stored later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from millstream.hub._rollouts import LOOKS_MAX, RolloutEngine
from millstream.kernel import SystemClock
from millstream.sdk import Received


class _Store:
    def __init__(self) -> None:
        self.looks = 0

    async def last(self, _: str, __: str) -> Received | None:
        self.looks += 1
        return None


async def test_what_was_heard_of_is_looked_for_although_it_is_not_there_yet_within_a_bound() -> None:
    nothing: Any = SimpleNamespace(replicas=1)
    engine = RolloutEngine(nothing, dict, None, clock=SystemClock(), log=nothing)
    store: Any = _Store()
    engine._api = store
    engine._on_change([(1, b"$KV.rollouts.spring", b"", None, b"{}")])
    while engine._running:
        (name,) = engine._running
        await engine._advance(name, nothing)
    assert store.looks == LOOKS_MAX
