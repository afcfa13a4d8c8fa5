"""Time goes out where somebody wants it, and an order is closed once, when it is over and all is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_plant import FakePlant
from pydantic import ValidationError

from millstream.config import CloseConfig, ConfirmConfig, TrytonConfirm, load_erp
from millstream.erp import open_erp
from millstream.erp._book import open_book
from millstream.erp._outgoing import Outgoing
from millstream.erp._systems import Confirmation
from millstream.kernel import SystemClock
from millstream.protocols.cloudevents import parse_time_ns

UNTIL = "2026-07-01T06:00:00Z"  # of the totals of `FakePlant`
MIN = 60 * 10**9
SQL = """
journal: erp.jsonl
place: acme/p1
systems: {mes: {type: sql, file: mes.sqlite}}
confirms:
  - {name: back, system: mes, sql: {table: done, key: {no: "{order}"}, columns: {good: "{good}"}}}
"""


class At(SystemClock):
    """A time that is set, as minutes since the last total."""

    minutes = 0

    def now_ns(self) -> int:
        return parse_time_ns(UNTIL) + self.minutes * MIN


class Taker:
    """Takes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, bool]] = []

    async def confirm(self, config: ConfirmConfig, confirmation: Confirmation) -> str:
        self.told.append((confirmation.good, confirmation.is_final))
        return "set"


def confirm(**tryton: Any) -> ConfirmConfig:
    return ConfirmConfig(name="back", system="erp", tryton=TrytonConfirm(**tryton))


async def send(folder: Path, plant: FakePlant, config: ConfirmConfig, clock: At) -> list[tuple[float, bool]]:
    """What is told now, by a process that has just begun."""
    sink = Taker()

    def tell(what: Mapping[str, Any]) -> None:
        pass

    with open_book(folder / "erp.jsonl") as book:
        outgoing = Outgoing(plant, config, book, clock, tell)  # type: ignore[arg-type]
        for told in await outgoing.due():
            await outgoing.send(sink, told)
    return sink.told


async def test_an_order_is_closed_once_so_long_behind_its_end_and_its_last_total(tmp_path: Path) -> None:
    plant, clock = FakePlant(), At()
    config = confirm(close=CloseConfig(when="ended", after="10min"))
    plant.knows("acme/p1/press:order/A", "order", order="A")
    plant.made("A", 5, 0, 1)
    clock.minutes = 100
    assert await send(tmp_path, plant, config, clock) == [(5, False)], "nobody has told its end"
    plant.knows("acme/p1/press:order/A", "order", order="A", end="2026-07-01T07:35:00Z")
    assert await send(tmp_path, plant, config, clock) == [], "five minutes behind its end"
    clock.minutes = 105
    assert await send(tmp_path, plant, config, clock) == [(5, True)]
    assert await send(tmp_path, plant, config, clock) == [], "once"
    plant.made("A", 6, 0, 2)
    assert await send(tmp_path, plant, config, clock) == [(6, True)], "late truth is told, for Tryton to refuse"


async def test_an_order_of_two_machines_has_ended_when_it_has_at_both(tmp_path: Path) -> None:
    plant, clock = FakePlant(), At()
    clock.minutes = 1000
    plant.knows("acme/p1/press:order/A", "order", order="A", end="2026-07-01T06:00:00Z")
    plant.knows("acme/p1/saw:order/A", "order", order="A")
    plant.made("A", 5, 0, 1)
    config = confirm(close=CloseConfig(when="ended", after="0s"))
    assert await send(tmp_path, plant, config, clock) == [(5, False)]
    plant.knows("acme/p1/saw:order/A", "order", order="A", end="2026-07-01T05:00:00Z")
    assert await send(tmp_path, plant, config, clock) == [(5, True)]


async def test_an_order_may_be_over_when_all_that_was_ordered_is_good(tmp_path: Path) -> None:
    plant, clock = FakePlant(), At()
    clock.minutes = 30
    plant.knows("acme/p1/press:order/A", "order", order="A", quantity=6.0)
    plant.made("A", 5, 1, 1)
    config = confirm(close=CloseConfig(when="quantity", after="30min"))
    assert await send(tmp_path, plant, config, clock) == [(5, False)]
    plant.made("A", 6, 1, 2)
    assert await send(tmp_path, plant, config, clock) == [(6, True)]


async def test_time_alone_is_a_new_total_only_for_whom_it_is_told(tmp_path: Path) -> None:
    plant, clock = FakePlant(), At()
    plant.knows("acme/p1/mill:order/A", "order", order="A")
    plant.made("A", 0, 0, 1)
    plant.totals = [replace(total, production_s=60.0) for total in plant.totals]
    timed = confirm(work={"operation.name": "{operation}"})
    assert await send(tmp_path / "parts", plant, confirm(), clock) == [], "nothing was made yet"
    assert await send(tmp_path / "time", plant, timed, clock) == [(0, False)]
    assert await send(tmp_path / "time", plant, timed, clock) == []


def test_a_confirmation_that_would_tell_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="quantities, work or both"):
        TrytonConfirm(quantities=False)


async def test_the_work_ends_when_it_is_told_to_also_where_a_library_gives_an_answer_instead(tmp_path: Path) -> None:
    class Swallowing(FakePlant):
        asked = asyncio.Event()

        async def list(self, *patterns: str, what: str | None = None) -> list[Any]:
            if not self.asked.is_set():
                self.asked.set()
                with suppress(asyncio.CancelledError):  # what `asyncio.wait_for` of Python 3.11 may do
                    await asyncio.sleep(3600)
            return []

    (tmp_path / "erp.yaml").write_text(SQL, encoding="utf-8")
    config, findings = load_erp(tmp_path / "erp.yaml")
    assert config is not None, [str(f) for f in findings]
    plant = Swallowing()
    async with open_erp(plant, config, At(), lambda _: None) as erp:  # type: ignore[arg-type]
        running = asyncio.create_task(erp.run())
        async with asyncio.timeout(60):
            await plant.asked.wait()
            running.cancel()
            await asyncio.wait([running])
    assert running.cancelled()
