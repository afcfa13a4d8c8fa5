"""A PLC: the C++ server of snap7 in a process of its own, and a wire to it that can be cut and poisoned."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cases.loopback import Loopback
from millstream.kernel import free_port

PEERS = Path(__file__).resolve().parents[2] / "peers"
STARTS_COUNT_MAX = 5  # somebody else may take the free port in between
POISON = bytes.fromhex("0300000b02f08099999999")  # ISO on TCP, but no S7 in it


@dataclass
class Plc:
    """Areas of memory by name ("DB" holds blocks by number), served on loopback."""

    memory: Mapping[str, Any]
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start, on the same port again after a stop, with the memory as it was at first."""
        for _ in range(1 if self.port else STARTS_COUNT_MAX):
            port = self.port or free_port()
            self.process = await asyncio.create_subprocess_exec(
                "node", "snap7_server.js", str(port), json.dumps(self._hex()),
                cwd=PEERS, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            if await self._line():
                self.port = port
                return
            await self.process.wait()
        raise AssertionError("the server of snap7 does not start")

    async def set_mode(self, mode: str) -> None:
        """Turn the key: ``stop`` or ``run``."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{mode}\n".encode())
        assert await self._line()

    async def kill(self) -> None:
        """As when the power goes."""
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.communicate()
            self.process = None

    async def _line(self) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return await self.process.stdout.readline()

    def _hex(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            name: part.hex() if isinstance(part, bytes) else part for name, part in self.memory.items() if name != "DB"
        }
        return {**made, "DB": {number: raw.hex() for number, raw in self.memory.get("DB", {}).items()}}


@contextlib.asynccontextmanager
async def plc(memory: Mapping[str, Any]) -> AsyncIterator[Plc]:
    """Running, and gone afterwards."""
    device = Plc(memory)
    await device.start()
    try:
        yield device
    finally:
        await device.kill()


@dataclass
class Wire(Loopback):
    """What lies between the edge and the PLC: counts requests, replaces an answer, or is cut."""

    upstream: int
    answers_bad: list[bytes] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Frame by frame, answer by answer."""
        answers, below = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            while request := await _frame(reader):
                self.requests.append(request)
                below.write(request)
                answer = await _frame(answers)
                writer.write(self.answers_bad.pop(0) if self.answers_bad and answer else answer)
                if not answer:
                    return
        finally:
            below.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One frame of ISO on TCP; nothing at the end."""
    try:
        header = await reader.readexactly(4)
        return header + await reader.readexactly(int.from_bytes(header[2:4], "big") - 4)
    except asyncio.IncompleteReadError:
        return b""
