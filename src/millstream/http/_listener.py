"""A small HTTP/1.1 server for posted data: bounded in time, bytes and connections. h11 knows the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millstream.http._words import Words
from millstream.kernel import ConfigError, Unreachable
from millstream.sdk import needs_extra

READ_BYTES = 1 << 16
HEAD_BYTES_MAX = 1 << 14
CONNECTIONS_MAX = 64
REQUESTS_BYTES_MAX = 8 << 20  # of all bodies that come in or wait for their answer
CLOSE_TIMEOUT_S = 1.0
LINGER_BYTES_MAX = 1 << 22


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Where to listen, and what is taken: a request may take `timeout_s` to come in, its body has at most `bytes_max`.
    With a `certificate` (PEM, its `key` beside or within) it speaks https."""

    host: str
    port: int
    timeout_s: float
    bytes_max: int
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request with its whole body; names of headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. After a refusal the connection is closed."""

    status: int
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)


Check = Callable[[Request], Reply | None]
"""Judges a request by its head alone, before its body is read; None lets it come in."""
Handle = Callable[[Request], Awaitable[Reply]]


class _Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.reason)
        self.reply = reply


class Listener:
    """Serves until it is closed."""

    def __init__(self, options: ListenerOptions, check: Check, handle: Handle) -> None:
        self._options = options
        self._check = check
        self._handle = handle
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self.port = 0

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody has connected; too many at once are sent away."""
        if len(self._tasks) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="webhook request")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drop_all(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import h11

        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        try:
            while await self._serve_one(connection, reader, writer):
                connection.start_next_cycle()
        except (OSError, TimeoutError, h11.ProtocolError):
            pass  # gone, too slow, or no HTTP: nothing was taken of it
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await writer.wait_closed()

    async def _serve_one(self, connection: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer. False when the connection ends."""
        import h11

        size = 0
        try:
            async with asyncio.timeout(self._options.timeout_s):
                head = await self._next(connection, reader)
                if not isinstance(head, h11.Request):
                    return False
                request = _request_of(head)
                refusal = self._check(request) or self._too_large(request)
                if refusal is not None:
                    raise _Refused(refusal)
                if connection.they_are_waiting_for_100_continue:
                    writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])))
                parts: list[bytes] = []
                while isinstance(event := await self._next(connection, reader), h11.Data):
                    size += len(event.data)
                    self._bytes += len(event.data)
                    if size > self._options.bytes_max:
                        raise _Refused(Reply(413, f"body is larger than {self._options.bytes_max} bytes"))
                    if self._bytes > REQUESTS_BYTES_MAX:
                        raise _Refused(Reply(503, "too much is under way", {"Retry-After": "1"}))
                    parts.append(bytes(event.data))
                if not isinstance(event, h11.EndOfMessage):
                    return False
            body = b"".join(parts)
            reply = await self._handle(Request(request.method, request.target, request.headers, body))
        except _Refused as refused:
            reply = refused.reply
        finally:
            self._bytes -= size
        return await self._answer(connection, reader, writer, reply)

    async def _next(self, connection: Any, reader: asyncio.StreamReader) -> Any:
        import h11

        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        return event

    def _too_large(self, request: Request) -> Reply | None:
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length[:18]) > self._options.bytes_max:
            return Reply(413, f"body is larger than {self._options.bytes_max} bytes")
        return None

    async def _answer(
        self, connection: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply
    ) -> bool:
        import h11

        content = f"{reply.reason}\n".encode() if reply.reason else b""
        headers = [*reply.headers.items()]
        if reply.status != 204:
            headers += [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(content)))]
        is_whole = connection.their_state is h11.DONE
        if not is_whole:
            headers.append(("Connection", "close"))
        writer.write(connection.send(h11.Response(status_code=reply.status, headers=headers)))
        if content and reply.status != 204:
            writer.write(connection.send(h11.Data(data=content)))
        writer.write(connection.send(h11.EndOfMessage()))
        async with asyncio.timeout(self._options.timeout_s):
            await writer.drain()
        if is_whole:
            return bool(connection.our_state is h11.DONE)
        await _linger(reader, writer)
        return False


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A connection that is closed with unread data is reset, and the sender then may never see the answer."""
    if writer.can_write_eof():
        writer.write_eof()
    taken = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            while taken < LINGER_BYTES_MAX and (part := await reader.read(READ_BYTES)):
                taken += len(part)


def _request_of(head: Any) -> Request:
    headers = {name.decode("ascii").lower(): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("ascii"), head.target.decode("latin-1"), headers)


def _server_context(options: ListenerOptions, words: Words) -> ssl.SSLContext | None:
    if options.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.certificate, options.key, password="")
    except OSError as error:
        raise ConfigError(
            f"certificate cannot be used: {error.strerror or error}", where=str(options.certificate),
            expected="PEM, readable, with a key without a password", code=words.address,
        ) from error  # fmt: skip
    return context


@asynccontextmanager
async def open_listener(
    options: ListenerOptions, words: Words, check: Check, handle: Handle
) -> AsyncIterator[Listener]:
    """Listen. Raises Unreachable when the address cannot be had, ConfigError for a certificate or the library."""
    with needs_extra(words.needed_by, words.extra):
        import h11  # noqa: F401 - known here that it is there
    context = await asyncio.to_thread(_server_context, options, words)
    listener = Listener(options, check, handle)
    try:
        # Begun in two steps: cancelled within one that also listens, its socket would be left open.
        server = await asyncio.start_server(
            listener.connected, options.host, options.port, limit=READ_BYTES, ssl=context, backlog=CONNECTIONS_MAX,
            start_serving=False,
        )  # fmt: skip
    except OSError as error:
        raise Unreachable(
            f"{words.peer} cannot listen: {error.strerror or error}", where=f"{options.host}:{options.port}",
            next_step="end the other program or set another port", code="MS-0601",
        ) from error  # fmt: skip
    try:
        listener.port = server.sockets[0].getsockname()[1]
        await server.start_serving()
        yield listener
    finally:
        server.close()
        await listener.drop_all()
