"""The entry of ``millstream demo``."""

from __future__ import annotations

import asyncio
import signal

from millstream.demo._options import DemoOptions, parse_options

_ENDED = 128 + signal.SIGTERM


def main(argv: list[str]) -> int:
    """Parse, run, return the exit status."""
    options = parse_options(argv)
    try:
        return asyncio.run(_run(options))
    except asyncio.CancelledError:  # told to end: its devices and nodes have ended, too
        return _ENDED


async def _run(options: DemoOptions) -> int:
    from millstream.demo._run import run_demo  # NATS, Arrow and DuckDB are not needed for --help

    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    return await run_demo(options)
