"""Time for tests: a clock that moves only when told, one whose wall time jumps, and an event loop in virtual time."""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from millstream.kernel import Clock, SystemClock

T = TypeVar("T")


class VirtualClock:
    """A clock that stands still. `advance` wakes the sleepers in order of their time; `jump` moves the wall only."""

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._wall_ns = start_ns
        self._monotonic_ns = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ordinal = 0

    def now_ns(self) -> int:
        """UTC, ns since 1970."""
        return self._wall_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds since this clock was made; only `advance` moves it."""
        return self._monotonic_ns

    async def sleep(self, delay_s: float) -> None:
        """Wait until the clock has been advanced by `delay_s`."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        self._ordinal += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._monotonic_ns + int(delay_s * 1e9), self._ordinal, woken)
        heapq.heappush(self._sleepers, entry)
        await woken

    async def advance(self, span_s: float, *, turns: int = 5) -> None:
        """Move both times on by `span_s`, giving every woken task `turns` turns of the loop before the next wakes."""
        end_ns = self._monotonic_ns + int(span_s * 1e9)
        while self._sleepers and self._sleepers[0][0] <= end_ns:
            due_ns, _, woken = heapq.heappop(self._sleepers)
            self._move_to(due_ns)
            if not woken.done():
                woken.set_result(None)
            for _ in range(turns):
                await asyncio.sleep(0)
        self._move_to(end_ns)
        for _ in range(turns):
            await asyncio.sleep(0)

    def jump(self, span_s: float) -> None:
        """Set the wall clock forward or back, as an operator or an NTP client does; monotonic time stays."""
        self._wall_ns += int(span_s * 1e9)

    def _move_to(self, monotonic_ns: int) -> None:
        self._wall_ns += monotonic_ns - self._monotonic_ns
        self._monotonic_ns = monotonic_ns


class JumpingClock:
    """A real clock whose wall time can be set wrong."""

    def __init__(self, base: Clock | None = None) -> None:
        self._base = base or SystemClock()
        self._offset_ns = 0

    def now_ns(self) -> int:
        """UTC, ns since 1970, plus what `jump` added."""
        return self._base.now_ns() + self._offset_ns

    def monotonic_ns(self) -> int:
        """The base's; a jump does not touch it."""
        return self._base.monotonic_ns()

    async def sleep(self, delay_s: float) -> None:
        """The base's."""
        await self._base.sleep(delay_s)

    def jump(self, span_s: float) -> None:
        """Move the wall clock by `span_s`, either way."""
        self._offset_ns += int(span_s * 1e9)


class _SkippingSelector(selectors.DefaultSelector):
    """Never waits: what the loop would wait for is added to its time instead."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Ready file objects, at once; without any, time moves on to the next timer."""
        ready = super().select(0 if timeout is None or timeout >= 0 else timeout)
        if not ready and timeout is None:
            raise RuntimeError("virtual time stands still: every task waits for something that no timer brings")
        if not ready and timeout is not None and timeout > 0:
            self.skipped_s += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour of `asyncio.sleep` takes no time. For code without sockets and threads."""

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._skipping.skipped_s


class LoopClock:
    """The clock of a `VirtualTimeLoop`: sleeping costs nothing, wall and monotonic time follow the loop."""

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._start_ns = start_ns

    def now_ns(self) -> int:
        """UTC, ns since 1970."""
        return self._start_ns + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds of the running loop."""
        return int(asyncio.get_running_loop().time() * 1e9)

    async def sleep(self, delay_s: float) -> None:
        """Wait on the loop."""
        await asyncio.sleep(delay_s)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
