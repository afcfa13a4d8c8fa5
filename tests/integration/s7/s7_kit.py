"""Peers and helpers for the S7 tests."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from cases.loopback import served

from millstream.connectors.s7 import S7Config, S7Connector
from millstream.connectors.s7._session import S7Session
from millstream.sdk import ConnectorTools, Tag

RUNS = bytes.fromhex("001400015144ff0800000000000000002611211119080006")
DISCONNECT = bytes.fromhex("0300000b06800000000100")
SILENCE = b"silence"


@dataclass
class Notes:
    """A log that keeps its lines."""

    lines: list[str] = field(default_factory=list)

    def info(self, event: str, **fields: object) -> None:
        """Keep it."""
        self.lines.append(f"{event} {fields}")

    warning = error = info

    def having(self, words: str) -> list[str]:
        """The lines with `words`."""
        return [line for line in self.lines if words in line]


def tag(address: str) -> Tag:
    """A tag named by its address."""
    return Tag(address, address)


def opened(port: int, log: Notes | None = None, **config: Any) -> AbstractAsyncContextManager[S7Session]:
    """A session with a PLC on this machine."""
    settings = {"host": "127.0.0.1", "port": port, "timeout": "10s", "connect_timeout": "10s", **config}
    return S7Connector(S7Config(**settings), ConnectorTools(log=log or Notes())).open()


async def values(session: S7Session, *addresses: str) -> list[tuple[Any, str]]:
    """Value and quality of each."""
    return [(sample.value, sample.quality.label) for sample in await session.read([tag(text) for text in addresses])]


def framed(pdu: bytes) -> bytes:
    """In ISO on TCP."""
    return struct.pack(">BBHBBB", 3, 0, len(pdu) + 7, 2, 0xF0, 0x80) + pdu


def acknowledged(request: bytes, data: bytes, *, error: int = 0) -> bytes:
    """The answer to a read or write: its function and item count, then `data`."""
    parameters = b"" if error else request[10:12]
    return struct.pack(">BBH2sHHH", 0x32, 3, 0, request[4:6], len(parameters), len(data), error) + parameters + data


def items_asked(request: bytes) -> list[tuple[int, int, int, int]]:
    """Area, block, first byte and size of each item of a read."""
    found = []
    for at in range(12, 12 + 12 * request[11], 12):
        size, db, area = struct.unpack_from(">HHB", request, at + 4)
        found.append((area, db, int.from_bytes(request[at + 9 : at + 12], "big") // 8, size))
    return found


def item(data: bytes, *, is_last: bool = False) -> bytes:
    """A good item."""
    return struct.pack(">BBH", 0xFF, 4, 8 * len(data)) + data + bytes(0 if is_last else len(data) % 2)


def told(request: bytes, data: bytes, *, error: int = 0) -> bytes:
    """The answer to a question about the system (user data), here of the status list."""
    parameters = bytes.fromhex("00011208128401000000") + struct.pack(">H", error)
    body = b"\x0a\0\0\0" if error else struct.pack(">BBH", 0xFF, 9, len(data) + 4) + request[-4:] + data
    return struct.pack(">BBH2sHH", 0x32, 7, 0, request[4:6], len(parameters), len(body)) + parameters + body


Answer = Callable[[bytes], Awaitable[bytes | None]]


async def tells_run(request: bytes) -> bytes:
    """A CPU that runs."""
    return framed(told(request, RUNS))


def raw_plc(
    read: Answer, *, state: Answer = tells_run, confirm: bytes | None = None, pdu: int = 480
) -> AbstractAsyncContextManager[int]:
    """A server that shakes hands as a PLC, then sends what `read` makes of each request; gives its port.

    `confirm` replaces the answer to the first frame. None closes the connection, `SILENCE` keeps it open.
    """

    async def respond(frame: bytes) -> bytes | None:
        if frame[5] == 0xE0:
            return bytes.fromhex("0300000b06d00001000100") if confirm is None else confirm or None
        request = frame[7:]
        if request[1] == 7:
            return await state(request)
        if request[10] == 0xF0:
            parameters = struct.pack(">BBHHH", 0xF0, 0, 1, 1, pdu)
            return framed(struct.pack(">BBH2sHHH", 0x32, 3, 0, request[4:6], 8, 0, 0) + parameters)
        return await read(request)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            header = await reader.readexactly(4)
            frame = header + await reader.readexactly(int.from_bytes(header[2:4], "big") - 4)
            reply = None if frame[5] == 0x80 else await respond(frame)
            if reply is None:
                return
            writer.write(b"" if reply == SILENCE else reply)

    return served(serve)
