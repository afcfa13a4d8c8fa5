"""One HTTP GET, bounded in time and size, on a connection of its own: h11 knows the protocol, asyncio the socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from millstream.http._words import Words
from millstream.kernel import ProtocolViolation, Unreachable
from millstream.sdk import TlsFiles, client_context, needs_extra, tls_fault

READ_BYTES = 1 << 16
CLOSE_TIMEOUT_S = 1.0
BAD_BYTES_MAX = 1 << 16
HTTP = b"HTTP/"


@dataclass(frozen=True, slots=True)
class Document:
    """What the server sent."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class GetOptions:
    """`accept` is a media type; `timeout_s` is to the last byte (0: for ever); for https `files` say whom to trust."""

    accept: str
    timeout_s: float
    bytes_max: int
    files: TlsFiles | None = None


async def get(url: str, options: GetOptions, words: Words) -> Document:
    """GET `url`. Raises Unreachable (no answer in time, connection lost, wrong certificate), AuthError (ours is
    refused), ProtocolViolation (no HTTP, too large), ConfigError (unusable files)."""
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    try:
        context = (
            await asyncio.to_thread(client_context, options.files or TlsFiles()) if parts.scheme == "https" else None
        )
        async with asyncio.timeout(options.timeout_s or None):
            return await _Get(url, where, options, words).run(context)
    except TimeoutError as error:
        what = f"{words.peer} does not answer within {options.timeout_s:g} s"
        raise Unreachable(what, where=where, code=words.unreachable) from error
    except OSError as error:
        if (fault := tls_fault(error, where)) is not None:
            raise fault from error
        what = f"{words.peer} cannot be reached: {error.strerror or error}"
        raise Unreachable(what, where=where, code=words.unreachable) from error


@dataclass(frozen=True, slots=True)
class _Get:
    """One request under way."""

    url: str
    where: str
    options: GetOptions
    words: Words

    async def run(self, context: ssl.SSLContext | None) -> Document:
        """Connect, ask, read, close."""
        h11 = _h11(self.words)
        parts = urlsplit(self.url)
        port = parts.port or (443 if context is not None else 80)
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=READ_BYTES)
        try:
            connection = h11.Connection(h11.CLIENT)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = [("Host", parts.netloc), ("Accept", self.options.accept), ("Connection", "close")]
            request = h11.Request(method="GET", target=target, headers=headers)
            writer.write(connection.send(request) + connection.send(h11.EndOfMessage()))
            return await self._read(connection, reader)
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await writer.wait_closed()

    async def _read(self, connection: Any, reader: asyncio.StreamReader) -> Document:
        h11 = _h11(self.words)
        status, size, parts = 0, 0, []
        last = begun = b""
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    last = await reader.read(READ_BYTES)
                    begun = begun if len(begun) >= len(HTTP) else begun + last
                    if begun[: len(HTTP)] != HTTP[: len(begun)]:  # h11 would wait for the end of a header
                        raise self._violation("answer is no HTTP", begun)
                    connection.receive_data(last)
                elif isinstance(event, h11.Response):
                    status = int(event.status_code)
                elif isinstance(event, h11.Data):
                    size += len(event.data)
                    parts.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    return Document(status, b"".join(parts))
                elif isinstance(event, h11.ConnectionClosed):
                    raise self._closed("before it answered")
                if size > self.options.bytes_max:
                    raise self._violation(f"answer is too large: more than {self.options.bytes_max} bytes", b"")
        except h11.RemoteProtocolError as error:
            if not last:
                raise self._closed("within its answer") from error
            raise self._violation(f"answer is no HTTP: {error}", last) from error

    def _closed(self, when: str) -> Unreachable:
        what = f"{self.words.peer} closed the connection {when}"
        return Unreachable(what, where=self.where, code=self.words.unreachable)

    def _violation(self, what: str, frame: bytes) -> ProtocolViolation:
        return ProtocolViolation(what, where=self.where, frame=frame[:BAD_BYTES_MAX], code=self.words.protocol)


def _h11(words: Words) -> Any:
    with needs_extra(words.needed_by, words.extra):
        import h11
    return h11
