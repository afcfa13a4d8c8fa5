"""The demo waits for what the devices produced last, which may be on its way when everything behind it is level."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from millstream.demo import _run
from millstream.demo._account import TagAccount
from millstream.demo._options import DemoOptions
from millstream.rig import Progress


class _Edge:
    """Its recording has ended at the second look."""

    node = SimpleNamespace(name="plant1")

    def __init__(self) -> None:
        self.looks = 0

    async def status(self) -> list[dict[str, Any]]:
        self.looks += 1
        state = "ended" if self.looks > 1 else "connected"
        return [{"name": "plant1", "connectors": [{"name": _run.WAVEFORM, "state": state}]}]


async def _asks_until_the_demo_goes_on(monkeypatch: pytest.MonkeyPatch, lost: list[int]) -> int:
    asked: list[int] = []

    async def accounts(*_: object) -> Mapping[str, list[TagAccount]]:
        asked.append(lost[min(len(asked), len(lost) - 1)])
        return {"press": [TagAccount("press:counter", 10, 10 - asked[-1], asked[-1], 0, 0)]}

    monkeypatch.setattr(_run, "device_accounts", accounts)
    monkeypatch.setattr(_run, "POLL_S", 0.001)
    monkeypatch.setattr(_run, "ARRIVAL_S_MAX", 60.0 if lost[-1] == 0 else 0.05)
    course = _run.Course(DemoOptions(6.0, 2.0, False, None), Path(), Progress())
    edge: Any = _Edge()
    await _run._arrive(course, edge, edge, {})
    assert edge.looks == len(asked) + 1, "asked before the recording had ended"
    return len(asked)


async def test_what_a_device_produced_last_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _asks_until_the_demo_goes_on(monkeypatch, [2, 2, 0]) == 3


async def test_what_does_not_come_is_waited_for_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(60):
        await _asks_until_the_demo_goes_on(monkeypatch, [2])
