"""Peers and helpers for the Modbus tests."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from cases.loopback import served

import warm
from millstream.connectors.modbus import ModbusConfig, ModbusConnector
from millstream.connectors.modbus._session import ModbusSession
from millstream.sdk import ConnectorTools, Tag

PEERS = Path(__file__).resolve().parents[2] / "peers"
READY_S = 150.0  # node-opcua takes several seconds of processor


def tag(address: str, **options: Any) -> Tag:
    """A tag named by its address."""
    return Tag(address, address, options=options)


def opened(port: int, **config: Any) -> AbstractAsyncContextManager[ModbusSession]:
    """A session with a device on this machine."""
    settings = {"host": "127.0.0.1", "port": port, "timeout": "2s", "connect_timeout": "2s", **config}
    return ModbusConnector(ModbusConfig(**settings), ConnectorTools()).open()


async def values(session: ModbusSession, *addresses: str) -> list[tuple[Any, str]]:
    """Value and quality of each."""
    return [(sample.value, sample.quality.label) for sample in await session.read([tag(text) for text in addresses])]


Answer = Callable[[bytes], Awaitable[bytes | None]]


def raw_device(answer: Answer) -> AbstractAsyncContextManager[int]:
    """A server that sends what `answer` makes of each request frame; None closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            header = await reader.readexactly(6)
            frame = header + await reader.readexactly(int.from_bytes(header[4:6], "big"))
            reply = await answer(frame)
            if reply is None:
                return
            writer.write(reply)

    return served(serve)


def framed(request: bytes, pdu: bytes) -> bytes:
    """An answer to `request`."""
    return request[:2] + struct.pack(">HHB", 0, len(pdu) + 1, request[6]) + pdu


@asynccontextmanager
async def process(*command: str, cwd: Path | None = None) -> AsyncIterator[tuple[asyncio.subprocess.Process, Any]]:
    """A device in a process of its own, and the first object that it printed."""
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=cwd)
    try:
        assert child.stdout is not None
        async with asyncio.timeout(READY_S):
            while not (line := await child.stdout.readline()).startswith(b"{"):
                assert line, "the device ended before it was ready"
            ready = json.loads(line)
        yield child, ready
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


def plant(*arguments: str) -> AbstractAsyncContextManager[tuple[asyncio.subprocess.Process, Any]]:
    """The simulated plant as a process."""
    return process(*warm.python("-m", "millstream.sim.modbus_plant", *arguments))
