"""A scripted HTTP server in this process, good or hostile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from millstream.sdk.testing import Peer

Answer = Callable[[str, dict[str, str], bytes], bytes]
"""From path, headers (in lower case) and body to the raw bytes of an answer."""


def ok(body: bytes, kind: str = "application/json", headers: str = "") -> bytes:
    """A plain answer."""
    return status(200, body, f"Content-Type: {kind}\r\n{headers}")


def status(code: int, body: bytes = b"", headers: str = "") -> bytes:
    """Any status."""
    return f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@dataclass
class HttpPeer(Peer):
    """Answers what `answer` says. `pace_s` between bytes makes it slow; an answer that is cut ends its connection."""

    answer: Answer = field(default=lambda path, headers, body: ok(b"{}"))
    pace_s: float = 0.0
    port: int = 0
    paths: list[str] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, on the same port again after a break."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop everyone."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def break_link(self) -> None:
        """Down, port closed."""
        await self.stop()

    async def restore_link(self) -> None:
        """Up again."""
        await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = first.split(" ")[1]
        self.paths.append(path)
        raw = self.answer(path, headers, body)
        if self.pace_s:
            for i in range(len(raw)):
                writer.write(raw[i : i + 1])
                await writer.drain()
                await asyncio.sleep(self.pace_s)
        writer.write(raw if not self.pace_s else b"")
        await writer.drain()
        head, _, content = raw.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), -1)
        return length == len(content)


@asynccontextmanager
async def running(peer: HttpPeer) -> AsyncIterator[HttpPeer]:
    """Start, give, stop."""
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()
