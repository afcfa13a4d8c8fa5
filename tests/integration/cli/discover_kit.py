"""Running ``discover`` as a person does, and a port that speaks something else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cases.loopback import served

from millstream.cli import main


@asynccontextmanager
async def nonsense() -> AsyncIterator[int]:
    """A port that says hello in another protocol."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 20)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.read()

    async with served(serve) as port:
        yield port


async def discover(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    """Status, the object that it printed, and what it said. Who is there gets its time to answer."""
    capfd.readouterr()
    patience = () if "--timeout" in words else ("--timeout", "30")
    status = await asyncio.to_thread(main, ["discover", *words, *patience, "--rate", "200", "--json"])
    said = capfd.readouterr()
    return status, json.loads(said.out or "{}"), said.err
