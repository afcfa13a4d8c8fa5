"""Time for tests: a clock that moves only when told, one whose wall time jumps, and an event loop in virtual time."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

from millstream.kernel import Clock, SystemClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
RESOLUTION_S = 1e-9  # timers so near to one another are due together, as in asyncio


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


class _Due(float):
    """When a timer is due, and the timer. Floats compare in C."""

    __slots__ = ("handle",)
    handle: asyncio.TimerHandle


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """An event loop in which an hour of `asyncio.sleep` takes no time. For code without sockets and threads: it has no
    selector. What is due at the same time runs in the order that asyncio's own heap gives it."""

    _ready: deque[asyncio.Handle]  # asyncio's own, as is the flag below
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._timers: list[_Due] = []

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._now_s

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        due = _Due(when)
        due.handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, due)
        return due.handle

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        """What asyncio does between two polls, until it is stopped; there is nothing to poll."""
        ready, timers = self._ready, self._timers
        while True:
            while timers and timers[0].handle.cancelled():
                heapq.heappop(timers)
            if not ready and not self._stopping:
                if not timers:
                    raise RuntimeError("virtual time stands still: every task waits for something that no timer brings")
                self._now_s += max(0.0, timers[0] - self._now_s)
            end_s = self._now_s + RESOLUTION_S
            while timers and timers[0] < end_s:
                ready.append(heapq.heappop(timers).handle)
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
            if self._stopping:
                return

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is left out when it is due."""

    def _write_to_self(self) -> None:
        """Nobody polls."""


class LoopClock:
    """The clock of a `VirtualTimeLoop`: sleeping costs nothing, wall and monotonic time follow the loop."""

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._start_ns = start_ns

    def now_ns(self) -> int:
        """UTC, ns since 1970."""
        return self._start_ns + int(asyncio.get_running_loop().time() * 1e9)

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
