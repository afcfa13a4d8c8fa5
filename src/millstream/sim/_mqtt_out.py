"""The sending half of MQTT 3.1.1 (OASIS standard, sections 3.1 to 3.4), with its DUP flag in our hands."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 10
SILENCE_S = 5.0  # after that the broker is asked for a sign of life


class MqttOut:
    """One link with a clean session. Publishes with QoS 1; `acknowledged` tells which."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._keys: dict[int, tuple[str, int]] = {}
        self._last_id = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, host: str, port: int, client_id: str, user: str | None, password: str | None
    ) -> AsyncIterator[MqttOut]:
        """Raises OSError, TimeoutError, EOFError when there is no link (or it ends inside)."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
        link = cls(reader, writer)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await link._connect(client_id, user, password)
            yield link
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _connect(self, client_id: str, user: str | None, password: str | None) -> None:
        flags, tail = 0x02, _text(client_id)
        if user is not None:
            flags |= 0x80 | (0x40 if password is not None else 0)
            tail += _text(user) + (_text(password) if password is not None else b"")
        self._write(0x10, _text("MQTT") + bytes([4, flags]) + struct.pack(">H", KEEPALIVE_S) + tail)
        kind, body = await self._packet(await self._reader.readexactly(1))
        if kind != 0x20 or body[1:2] != b"\0":
            raise ConnectionRefusedError(f"the broker refuses the connection: {body!r}")

    def publish(self, topic: str, payload: bytes, key: tuple[str, int], *, is_repeat: bool = False) -> None:
        """Send with QoS 1; `key` comes back from `acknowledged`."""
        self._last_id = self._last_id % 65535 + 1
        self._keys[self._last_id] = key
        self._write(0x3A if is_repeat else 0x32, _text(topic) + struct.pack(">H", self._last_id) + payload)

    async def acknowledged(self) -> AsyncIterator[tuple[str, int]]:
        """Keys as their PUBACKs come. Ends by OSError, EOFError or TimeoutError, when the link does."""
        is_asked = False
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    head = await self._reader.readexactly(1)
            except TimeoutError:
                if is_asked:
                    raise
                is_asked = True
                self._write(0xC0, b"")
                continue
            is_asked = False
            async with asyncio.timeout(SILENCE_S):
                kind, body = await self._packet(head)
            if kind == 0x40:
                key = self._keys.pop(struct.unpack(">H", body[:2])[0], None)
                if key is not None:
                    yield key

    async def _packet(self, head: bytes) -> tuple[int, bytes]:
        """The rest of a packet; when this is cut off, the link is of no use any more."""
        length, shift = 0, 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return head[0] & 0xF0, await self._reader.readexactly(length)

    def _write(self, head: int, body: bytes) -> None:
        length, out = len(body), bytearray([head])
        while True:
            length, byte = length >> 7, length & 0x7F
            out.append(byte | 0x80 if length else byte)
            if not length:
                break
        self._writer.write(bytes(out) + body)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw
