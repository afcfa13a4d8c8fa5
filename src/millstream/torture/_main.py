"""The entry of ``millstream torture``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from millstream.torture._options import TortureOptions, parse_options


def main(argv: list[str]) -> int:
    """Parse, run, return the exit status: 0 only when all is equal."""
    options = parse_options(argv)
    return asyncio.run(_guarded(options))


async def _guarded(options: TortureOptions) -> int:
    """A signal cancels the run, so that mounts, rules and processes are always taken back."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await _run(options)
    return 130


async def _run(options: TortureOptions) -> int:
    from millstream.rig import Progress
    from millstream.torture._power import run_power

    folder = options.keep or Path(tempfile.mkdtemp(prefix="millstream-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    say = Progress()
    report: dict[str, Any] = {}
    try:
        report = await run_power(folder.resolve(), cycles=options.power_cuts, seed=options.seed, say=say)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["lost"] == 0 and report["duplicated"] == 0 and report["is_control_failing"] else 1
