"""Some edges in one process, each with its own nats-server and leaf link: what one box would be, but for the process.

    python -m bench.fleet._sites FOLDER LEAF_PORT FIRST COUNT [--raw]

Prints a line of JSON when all of them are up, and runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from bench.fleet._plant import connector, raw_connector, secret_of, site_name
from millstream.config import EdgeConfig
from millstream.edge import EdgeNode


def document(folder: Path, name: str, leaf_port: int, *, is_raw: bool) -> dict[str, object]:
    """An edge that reads a recording for ever; or a minute of waveforms, once."""
    return {
        "edge": {"name": name, "path": f"acme/{name}", "data_dir": str(folder / name), "labels": {"line": name[-1]}},
        "uplink": {"url": f"nats://127.0.0.1:{leaf_port}", "secret": {"file": str(secret_of(folder, name))}},
        "streams": {"integrity": {"max_bytes": "64MiB" if is_raw else "16MiB"}},
        "connectors": [raw_connector(folder) if is_raw else connector(folder)],
    }  # fmt: skip


def _write(level: str, line: str) -> None:
    if level != "info":
        sys.stderr.write(f"{level} {line}\n")


async def serve(folder: Path, leaf_port: int, first: int, count: int, *, is_raw: bool) -> None:
    """Until SIGTERM."""
    os.environ["GOMAXPROCS"] = "1"  # a box of one core: 200 servers that each look for work on all cores fill two
    os.nice(10)  # the hub stands on a box of its own in life: what the sites do must not take its turn
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # nor do 200 boxes interrupt one another
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    names = [site_name(number) for number in range(first, first + count)]
    async with asyncio.TaskGroup() as group:
        for name in names:
            config = EdgeConfig.model_validate(document(folder, name, leaf_port, is_raw=is_raw))
            group.create_task(EdgeNode(config, log=_write, folder=folder).run(stop))
            while not (folder / name / "node.json").exists():  # one after the other: a box does not start 25 servers
                await asyncio.sleep(0.05)
        print(json.dumps({"sites": names}), flush=True)


if __name__ == "__main__":
    numbers = (int(argument) for argument in sys.argv[2:5])
    asyncio.run(serve(Path(sys.argv[1]), *numbers, is_raw="--raw" in sys.argv))
