"""A scripted HTTP server in this process, good or hostile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from cases.loopback import ListeningPeer

Answer = Callable[[str, dict[str, str], bytes], bytes]
"""From path, headers (in lower case) and body to the raw bytes of an answer."""


def ok(body: bytes, kind: str = "application/json", headers: str = "") -> bytes:
    """A plain answer."""
    return status(200, body, f"Content-Type: {kind}\r\n{headers}")


def status(code: int, body: bytes = b"", headers: str = "") -> bytes:
    """Any status."""
    return f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@dataclass
class HttpPeer(ListeningPeer):
    """Answers what `answer` says. `pace_s` between bytes makes it slow; an answer that is cut ends its connection."""

    answer: Answer = field(default=lambda path, headers, body: ok(b"{}"))
    pace_s: float = 0.0
    paths: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests, until an answer ends the connection."""
        while await self._one(reader, writer):
            pass

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
