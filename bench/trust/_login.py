"""A log-in by hand, as a client or as a leaf: when it is let in, and when it is cut, without a library in between."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from pathlib import Path

from millstream.protocols.nats_jwt import parse_creds

PATIENCE_S = 60.0


class Login:
    """One connection with given credentials."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, creds: Path) -> Login | None:
        """The connection once the server has let it in; None when it refuses."""
        token, key = parse_creds(creds.read_text(encoding="ascii"), where=str(creds))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        login = cls(reader, writer)
        info = json.loads((await reader.readline()).partition(b" ")[2])
        signature = base64.urlsafe_b64encode(key.sign(info["nonce"].encode())).rstrip(b"=").decode()
        options = {
            "jwt": token, "sig": signature, "name": "bench", "headers": True, "version": "2.15.1", "proto": 1,
            "server_id": "N" + os.urandom(8).hex(), "domain": "bench", "verbose": False,
        }  # fmt: skip
        writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        if await login._read(b"PONG"):
            return login
        await login.close()
        return None

    async def cut(self) -> None:
        """Return when the server hangs up."""
        await self._read(None)

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _read(self, mark: bytes | None) -> bool:
        """Read until a line begins with `mark`; false when the server hangs up first."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(PATIENCE_S):
                while line := await self._reader.readline():
                    if mark is not None and line.startswith(mark):
                        return True
                    if line.startswith(b"PING"):
                        self._writer.write(b"PONG\r\n")
        return False
