"""An identity provider in a process of its own: npm oidc-provider on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trust_site import DEADLINE_S

PEERS = Path(__file__).resolve().parents[2] / "peers"


@dataclass
class Idp:
    """The provider's process."""

    process: asyncio.subprocess.Process
    issuer: str

    async def set(self, **command: Any) -> None:
        """Say something to it, and wait until it is done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        async with asyncio.timeout(DEADLINE_S):
            while not (await self.process.stdout.readline()).startswith(b'{"done"'):
                pass


@asynccontextmanager
async def idp(redirect_uri: str) -> AsyncIterator[Idp]:
    """It listens when this is entered."""
    process = await asyncio.create_subprocess_exec(
        "node", "--no-warnings", "oidc_provider.mjs", redirect_uri, cwd=PEERS, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            line = await process.stdout.readline()
            while not line.startswith(b'{"issuer"'):
                assert line, "the provider has ended"
                line = await process.stdout.readline()
        yield Idp(process, json.loads(line)["issuer"])
    finally:
        process.stdin.close()
        await process.stdout.read()
        await process.wait()
