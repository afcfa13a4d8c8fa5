"""The scenario in parts, each with a time of its own: one that does not end costs its rows, and those of no other."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

from bench._nodes import Rig, open_rig
from bench._report import Row, digest

START_S_MAX = 90.0  # of a plant; its processes stop themselves sooner
REASON_CHARACTERS_MAX = 200
Opens = Callable[[], AbstractAsyncContextManager[Any]]
Tell = Callable[[str], None]


class Stage:
    """A plant that several parts look at. Begun where it is needed first, or before, beside another part."""

    def __init__(self, start: Callable[[Rig], Awaitable[str]]) -> None:
        self._start = start
        self._scope = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self.rig: Rig
        self.address = ""  # logs in

    def begin(self) -> None:
        """Start it, once, and do not wait."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def ready(self) -> None:
        """Wait until it stands. Raises what kept it from it, each time it is asked."""
        self.begin()
        assert self._task is not None
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        self.rig = await self._scope.enter_async_context(open_rig())
        try:
            async with asyncio.timeout(START_S_MAX):
                self.address = await self._start(self.rig)
        except SystemExit as error:  # as `poll` ends a scenario; in a task it would end all of them
            raise RuntimeError(str(error)) from error

    async def close(self) -> None:
        """Stop its processes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._scope.aclose()


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are measured together, by `work` in a browser of its own, on `stage`; without one no browser is needed.
    `beside` is begun meanwhile. What this machine `lacks` for it is no failure."""

    measures: tuple[str, ...]
    limit_s: float
    work: Callable[[Any], Awaitable[list[Row]]]
    stage: Stage | None = None
    beside: Stage | None = None
    lacks: str = ""


async def run_parts(parts: Sequence[Part], opens: Opens, limit_s: float, tell: Tell) -> list[Row]:
    """All rows in their order. Of a part that fails, that takes longer than it may, or for which nothing is left of
    `limit_s` for all of them, each row says so instead of a figure."""
    end_s = time.monotonic() + limit_s
    rows: list[Row] = []
    try:
        for at, part in enumerate(parts):
            rows += await _run(part, opens, end_s - time.monotonic(), f"{at + 1} of {len(parts)}", tell)
            if part.stage is not None and all(later.stage is not part.stage for later in parts[at + 1 :]):
                await part.stage.close()
    finally:
        for stage in _stages(parts):
            await stage.close()
    return rows


def _stages(parts: Iterable[Part]) -> list[Stage]:
    both = [stage for part in parts for stage in (part.stage, part.beside) if stage is not None]
    return list({id(stage): stage for stage in both}.values())


async def _run(part: Part, opens: Opens, left_s: float, at: str, tell: Tell) -> list[Row]:
    if part.lacks:
        return _missing(part, f"missing: {part.lacks}", tell, is_met=True)
    if left_s <= 0:
        return _missing(part, "no time was left for it", tell)
    begun_s = time.monotonic()
    limit_s = min(part.limit_s, left_s)
    tell(f"{at}, at most {limit_s:.0f} s: {', '.join(part.measures)}")
    scope = asyncio.timeout(limit_s)
    try:
        if part.stage is not None:
            async with asyncio.timeout(left_s):
                await part.stage.ready()
        if part.beside is not None:
            part.beside.begin()
        async with scope, opens() if part.stage is not None else nullcontext() as browser:
            rows = await part.work(browser)
    except TimeoutError as error:
        why = (
            f"it did not end within {limit_s:.0f} s" if scope.expired() else f"its plant did not start: {_said(error)}"
        )
        return _missing(part, why, tell)
    except SystemExit as error:
        if isinstance(error.code, int):  # somebody ends us
            raise
        return _missing(part, str(error), tell)
    except Exception as error:  # noqa: BLE001 - a supervisor: the other parts are measured, whatever a browser or a node says
        return _missing(part, _said(error), tell)
    for row, measure in zip(rows, part.measures, strict=True):
        row.measure, row.result_hash = measure, row.result_hash or digest([measure])
        tell(f"    {measure}: {row.figure}")
    tell(f"    after {time.monotonic() - begun_s:.0f} s")
    return rows


def _missing(part: Part, why: str, tell: Tell, *, is_met: bool = False) -> list[Row]:
    for measure in part.measures:
        tell(f"    {measure}: not measured: {why}")
    return [Row(measure, "not measured", is_met=is_met, note=why) for measure in part.measures]


def _said(error: BaseException) -> str:
    """One line of it: a browser's errors have a log behind them."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.replace("|", "/")[:REASON_CHARACTERS_MAX]


def tell_on_stderr() -> Tell:
    """Progress where it is in nobody's way: the table, or the JSON, is on standard output."""
    begun_s = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - begun_s:5.0f} s  {text}", file=sys.stderr, flush=True)

    return tell
