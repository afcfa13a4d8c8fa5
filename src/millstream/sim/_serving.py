"""What simulated devices do alike: say where they are, move, and end on a signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

MOVE_S = 0.1


def say(**fields: object) -> None:
    """The first line on standard output, which tests and scripts wait for."""
    sys.stdout.write(json.dumps(fields) + os.linesep)
    sys.stdout.flush()


def ending() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


async def moving(end: asyncio.Event, move: Callable[[], None], interval_s: float = MOVE_S) -> None:
    """Call `move` again and again, until the end."""
    while not end.is_set():
        move()
        with suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await end.wait()
