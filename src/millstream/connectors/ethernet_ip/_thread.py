"""One thread for one controller: calls one after the other, and an end that does not wait for a silent device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from millstream.connectors.ethernet_ip._driver import Driver

T = TypeVar("T")


class DriverThread:
    """Runs the blocking calls of one driver. A cancelled call is aborted, so that the thread is free soon."""

    def __init__(self, driver: Driver, name: str) -> None:
        self._driver = driver
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"ethernet-ip-{name}")

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`, or what it raises."""
        try:
            return await asyncio.wrap_future(self._executor.submit(call))
        except asyncio.CancelledError:
            self._driver.abort()
            raise

    async def close(self) -> None:
        """Close the driver in its thread, and end the thread; also when cancelled, only sooner."""
        closing = asyncio.wrap_future(self._executor.submit(self._driver.close))
        self._executor.shutdown(wait=False)
        is_cancelled = False
        while not closing.done():
            try:
                await asyncio.wait([closing])
            except asyncio.CancelledError:
                is_cancelled = True
                self._driver.abort()
        if is_cancelled:
            raise asyncio.CancelledError
