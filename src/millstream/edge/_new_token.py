"""Takes a new token for the link to the hub, when the operator has replaced the key that signed the one before.

The box keeps its own key. The server reads the file each time it dials, so the new token counts from the next time on:
the hub cuts the link as soon as it knows the new key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from millstream.bus import disk_error, write_private
from millstream.kernel import Clock
from millstream.protocols.nats_jwt import format_creds, parse_creds, read_token
from millstream.protocols.uplink_token import own_token
from millstream.sdk import Log


class NewToken:
    """`creds_file` lets the edge's server into the hub. `share`, where it is set, gives what came to the other boxes of
    the site."""

    def __init__(self, creds_file: Path, clock: Clock, log: Log) -> None:
        self._creds_file = creds_file
        self._clock = clock
        self._log = log
        self.share: Callable[[bytes], Awaitable[None]] | None = None

    async def answer(self, payload: bytes) -> object:
        """What a hub hands on. Raises AuthError, DecodeError, StoreFullError."""
        renewed = await asyncio.to_thread(self.take, payload)
        if self.share is not None:
            await self.share(payload)
        return {"renewed": renewed}

    def take(self, payload: bytes) -> str:
        """The box's key, whose newest token it now has: what is kept for all boxes may be older than what this one got
        by joining again. Raises AuthError, DecodeError, StoreFullError."""
        path = self._creds_file
        token, key = parse_creds(path.read_text(encoding="ascii"), where=str(path))
        known = read_token(token)
        new = own_token(payload, known, self._clock.now_ns() / 1e9)
        if new == token or read_token(new).issued_s < known.issued_s:
            return str(key.public)
        try:
            write_private(path, format_creds(new, key.seed))
        except OSError as error:
            raise disk_error(error, path) from error
        self._log.info("the hub gave a new token: another key signs for this tenant")
        return str(key.public)
