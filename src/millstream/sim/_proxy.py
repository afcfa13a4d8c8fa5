"""A TCP proxy that misbehaves on request: for tests and the demo's cut."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from millstream.sim._mischief import Mischief, Treatment

CHUNK_BYTES = 64 * 1024
CONNECTIONS_COUNT_MAX = 256
PART_PAUSE_S = 0.1  # between the halves of an answer: longer than any stack waits to send them as one


@dataclass(frozen=True, slots=True)
class Fault:
    """What the proxy does to every connection. The default is nothing.

    `is_cut`: connections are closed, new ones too. `is_swallowing`: connections stay open and new ones are taken, but
    nothing passes in either direction (a black hole; what the sender had written is delivered afterwards, as TCP does).
    `delay_s`: added to each direction. `bytes_per_s`: bound of each direction of each connection.
    """

    is_cut: bool = False
    is_swallowing: bool = False
    delay_s: float = 0.0
    bytes_per_s: float | None = None


class FaultProxy:
    """Listens on `port` of the loopback while its scope is open and forwards to one target.

    `mischief` is done to what the target answers.
    """

    def __init__(self, host: str, port: int, *, listen_port: int = 0, mischief: Mischief | None = None) -> None:
        self._mischief = mischief
        self._target = (host, port)
        self._listen_port = listen_port
        self._fault = Fault()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._group = asyncio.TaskGroup()
        self._links: set[asyncio.Task[None]] = set()
        self._frozen: set[asyncio.Task[None]] = set()
        self.accepted_count = 0
        self.bytes_count = 0

    @property
    def port(self) -> int:
        """Where to connect instead of the target."""
        assert self._server is not None, "the proxy is not open"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def links_count(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    def treat(self, mischief: Mischief | None) -> None:
        """Do this to what the target answers from now on, on the connections of now too."""
        self._mischief = mischief

    def cut(self) -> None:
        """Close every connection and all new ones at once."""
        self.set(replace(self._fault, is_cut=True))

    def swallow(self) -> None:
        """Keep the connections open and let nothing pass."""
        self.set(replace(self._fault, is_swallowing=True))

    def freeze(self) -> None:
        """Let nothing pass on the connections of now, but serve new ones: a router that has lost its state."""
        self._frozen |= self._links

    def reset(self) -> None:
        """Cut the connections of now, and serve new ones."""
        for task in list(self._links):
            task.cancel()

    def restore(self) -> None:
        """Behave again."""
        self._frozen.clear()
        self.set(Fault())

    def set(self, fault: Fault) -> None:
        """Misbehave in another way from now on."""
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()
        if fault.is_cut:
            for task in list(self._links):
                task.cancel()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self._listen_port, limit=CHUNK_BYTES, backlog=CONNECTIONS_COUNT_MAX
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._links):
            task.cancel()
        await self._group.__aexit__(None, None, None)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted_count += 1
        if self._fault.is_cut or len(self._links) >= CONNECTIONS_COUNT_MAX:
            writer.transport.abort()
            return
        task = self._group.create_task(self._serve(reader, writer))
        self._links.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._links.discard(task)
        self._frozen.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        link = asyncio.current_task()
        assert link is not None
        try:
            await self._wait_while_stuck(link)
            far_reader, upstream = await asyncio.open_connection(*self._target, limit=CHUNK_BYTES)
            pumps = [
                asyncio.ensure_future(self._pump(link, reader, upstream)),
                asyncio.ensure_future(self._pump(link, far_reader, writer, is_answer=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the target is away: the caller sees a closed connection, as it would without the proxy
        finally:
            for each in (writer, upstream):
                if each is not None:
                    each.transport.abort()

    async def _pump(
        self,
        link: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_answer: bool = False,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._wait_while_stuck(link)
                fault = self._fault
                if fault.delay_s:
                    await asyncio.sleep(fault.delay_s)
                if fault.bytes_per_s:
                    await asyncio.sleep(len(data) / fault.bytes_per_s)
                treatment = Treatment((data,))
                if is_answer and self._mischief is not None:
                    treatment = self._mischief.treat(data)
                if treatment.is_frozen:
                    self._frozen.add(link)
                await self._send(treatment.parts, writer)
                if treatment.is_torn:
                    return

    async def _send(self, parts: tuple[bytes, ...], writer: asyncio.StreamWriter) -> None:
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(PART_PAUSE_S)
            writer.write(part)
            self.bytes_count += len(part)
            await writer.drain()

    async def _wait_while_stuck(self, link: asyncio.Task[None]) -> None:
        while self._fault.is_swallowing or link in self._frozen:
            await self._changed.wait()
