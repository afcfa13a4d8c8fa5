"""A small node-opcua server as a process: an alarm, methods, a counter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PEERS = Path(__file__).resolve().parents[2] / "peers"
READY_S = 120.0


@asynccontextmanager
async def counter_server(folder: Path) -> AsyncIterator[str]:
    """tests/peers/opcua_counter.js with its certificates below `folder`; gives its endpoint."""
    process = await asyncio.create_subprocess_exec(
        "node", "opcua_counter.js", str(folder / "pki"), "plain",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=PEERS,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            while not (line := await process.stdout.readline()).startswith(b'{"port"'):
                assert line, "the server ended before it was ready"
        yield f"opc.tcp://127.0.0.1:{json.loads(line)['port']}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
