"""An edge with one command whose effects can be counted, as a process: ``python command_edge.py EDGE.yaml FOLDER``.

The command ``leave_mark`` writes ``<id>`` into FOLDER/begun, waits for the file FOLDER/open, writes ``<id>`` into
FOLDER/marks (the effect), waits for FOLDER/end, and is done.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millstream.config import load_edge
from millstream.edge import EdgeNode
from millstream.sdk import CommandContext


def append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


async def until_there(path: Path) -> None:
    while not path.exists():
        await asyncio.sleep(0.01)


class LeaveMark:
    description = "Leave a mark."
    schema: Mapping[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    time_limit_s = 300.0
    is_cancellable = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run(self, args: Mapping[str, Any], context: CommandContext) -> Any:
        append(self._folder / "begun", context.id)
        await until_there(self._folder / "open")
        append(self._folder / "marks", context.id)
        await until_there(self._folder / "end")


async def main() -> None:
    config, findings = load_edge(Path(sys.argv[1]), {})
    assert config is not None, findings
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await EdgeNode(config, connectors={}, commands={"leave_mark": LeaveMark(Path(sys.argv[2]))}).run(stop)


if __name__ == "__main__":
    asyncio.run(main())
