"""The only place that reads the wall clock."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time as a port, so that shipped code also runs in virtual time."""

    def now_ns(self) -> int:
        """UTC, nanoseconds since 1970-01-01; may jump either way."""
        ...

    def monotonic_ns(self) -> int:
        """Never goes back; for spans and deadlines."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait `delay_s` seconds of this clock."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """UTC, nanoseconds since 1970-01-01."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Monotonic nanoseconds."""
        return time.monotonic_ns()

    async def sleep(self, delay_s: float) -> None:
        """Wait on the running loop."""
        await asyncio.sleep(delay_s)
