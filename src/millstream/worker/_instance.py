"""One instance of a flow: takes its partitions, runs them, says how they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from millstream.bus import START_PATIENCE_S, Credentials, RawConnection
from millstream.config import FlowEntry
from millstream.flow import Flow, FlowRunner
from millstream.kernel import Clock
from millstream.sdk import Log
from millstream.worker._deadletters import FlowDeadLetters
from millstream.worker._spec import WorkerSpec
from millstream.worker._wiring import bus_wiring

REPORT_INTERVAL_S = 1.0
Report = Callable[[dict[str, Any]], None]


async def run_instance(
    spec: WorkerSpec, entry: FlowEntry, flow: Flow[Any], stop: asyncio.Event, *, clock: Clock, log: Log, report: Report
) -> None:
    """Run until `stop` is set. Raises FencedError when another instance has a partition, Unreachable, DecodeError."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(
            RawConnection(
                spec.url, credentials=Credentials(spec.user, spec.password), name=f"flow {entry.name}",
                patience_s=START_PATIENCE_S,
            )
        )  # fmt: skip
        letters = FlowDeadLetters(connection, spec.deadletters, entry.name, flow.version, clock)
        wiring = bus_wiring(spec, flow, entry.partitions, connection, letters, clock=clock, log=log)
        runner = FlowRunner(flow, range(entry.partitions), entry.partitions, wiring)
        running = asyncio.get_running_loop().create_task(runner.run(), name=f"flow {entry.name}")
        stopping = asyncio.get_running_loop().create_task(stop.wait())
        try:
            while not running.done() and not stopping.done():
                report(runner_report(runner))
                await asyncio.wait([running, stopping], timeout=REPORT_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.wait([running, stopping])
        if not running.cancelled():
            running.result()


def runner_report(runner: FlowRunner) -> dict[str, Any]:
    """How the partitions are."""
    return {
        "partitions": [
            {
                "partition": number,
                "offsets": {stream: offset.seq for stream, offset in each.core.offsets.items()},
                "restore_seq": each.core.restore_seq,
                "keys": each.core.keys_count,
                "commits": each.commits,
                **{name: getattr(each.core.counts, name) for name in each.core.counts.__slots__},
            }
            for number, each in runner.running.items()
        ]
    }
