"""How a node's process ends."""

from __future__ import annotations

import subprocess
import sys

STUBBORN = """
import asyncio
from millstream.cli import _nodes

_nodes.LEFT_S = 0.1

async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def work(stop):
    asyncio.get_running_loop().create_task(stubborn(), name="command c1")
    await asyncio.sleep(0)

raise SystemExit(_nodes._serve(work))
"""


def test_what_does_not_let_itself_be_ended_does_not_keep_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", STUBBORN], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ended while these did not: command c1" in done.stderr
