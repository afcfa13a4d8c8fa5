"""Peers that listen on loopback: how they come, go and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from millstream.sdk.testing import Peer


class Joinable(Protocol):
    """Something that can be plugged in and out."""

    async def join(self) -> None:
        """Plug in."""

    async def cut(self) -> None:
        """Pull the plug."""


J = TypeVar("J", bound=Joinable)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Talks on one connection, which is closed when it returns."""


@dataclass(kw_only=True)
class Loopback:
    """A port, the same one again after a break. Subclass and override `serve`."""

    port: int = 0
    links: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict, repr=False)
    server: asyncio.Server | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk on one connection, which is closed when this returns."""
        raise NotImplementedError

    @property
    def writers(self) -> list[asyncio.StreamWriter]:
        """Of the connections that are open."""
        return list(self.links.values())

    async def join(self) -> None:
        """Listen."""
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Nobody listens, every connection is dropped."""
        if self.server is not None:
            self.server.close()
            self.server = None
        await self.drop()

    async def drop(self) -> None:
        """Every connection is dropped."""
        for link in list(self.links):
            link.cancel()
        await asyncio.gather(*self.links, return_exceptions=True)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> asyncio.Task[None]:
        """Begin to talk; the task ends with the connection."""
        link = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self.links[link] = writer

        def end(done: asyncio.Task[None]) -> None:
            """Also of one that was cancelled before it began."""
            self.links.pop(done, None)
            if done.cancelled():
                writer.transport.abort()
            writer.close()

        link.add_done_callback(end)
        return link

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accept(reader, writer)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            await self.serve(reader, writer)


class ListeningPeer(Loopback, Peer):
    """A device that listens: its link breaks when it goes down."""

    async def break_link(self) -> None:
        """Down, port closed."""
        await self.cut()

    async def restore_link(self) -> None:
        """Up again."""
        await self.join()


@asynccontextmanager
async def joined(end: J) -> AsyncIterator[J]:
    """Plugged in, and out again."""
    await end.join()
    try:
        yield end
    finally:
        await end.cut()


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[int]:
    """A server with `serve` for each connection; gives its port."""

    class Served(Loopback):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await serve(reader, writer)

    async with joined(Served()) as server:
        yield server.port
