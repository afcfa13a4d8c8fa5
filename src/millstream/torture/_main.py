"""The entry of ``millstream torture``."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from millstream.torture._disk import CLONE_NEWNS, own_namespace, why_no_power_cut
from millstream.torture._network import enter_own_network, why_no_packet_loss
from millstream.torture._options import TortureOptions, parse_options


def main(argv: list[str]) -> int:
    """Parse, run, return the exit status: 0 only when all is equal."""
    options = parse_options(argv)
    return asyncio.run(_guarded(options, _enter_namespaces(options)))


def _enter_namespaces(options: TortureOptions) -> dict[str, str]:
    """Leave the machine's mounts and network where faults need that. Kinds of faults that cannot be had here, and
    why."""
    if options.power_cuts and why_no_power_cut() is None:
        own_namespace(CLONE_NEWNS)  # refused: the mount is then one of the machine's, and taken back all the same
    if "drop" not in options.faults:
        return {}
    reason = why_no_packet_loss() or enter_own_network()
    return {} if reason is None else {"drop": reason}


async def _guarded(options: TortureOptions, missing: dict[str, str]) -> int:
    """A signal cancels the run, so that mounts, rules and processes are always taken back."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await _run(options, missing)
    return 130


async def _run(options: TortureOptions, missing: dict[str, str]) -> int:
    from millstream.rig import Progress
    from millstream.torture._power import run_power
    from millstream.torture._report import is_passed, print_report
    from millstream.torture._run import run_faults

    folder = options.keep or Path(tempfile.mkdtemp(prefix="millstream-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    say = Progress()
    report: dict[str, Any] = {"seed": options.seed}
    kinds = tuple(kind for kind in options.faults if kind not in missing)
    for kind, reason in missing.items():
        say.say(f"without {kind}: {reason}")
    try:
        if kinds:
            report = await run_faults(folder, for_s=options.for_s, seed=options.seed, kinds=kinds, say=say)
            report["missing"] = missing
        if options.power_cuts:
            (folder / "power").mkdir()
            power = await run_power(folder / "power", cycles=options.power_cuts, seed=options.seed, say=say)
            report = {**report, "power": power} if kinds else power
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print_report(report, is_json=options.is_json)
    return 0 if is_passed(report) else 1
