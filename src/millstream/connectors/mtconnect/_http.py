"""One HTTP GET, bounded in time and size, on a connection of its own: h11 knows the protocol, asyncio the socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from millstream.kernel import ProtocolViolation, Unreachable
from millstream.sdk import TlsFiles, client_context, needs_extra, tls_fault

READ_BYTES = 1 << 16
CLOSE_TIMEOUT_S = 1.0
BAD_BYTES_MAX = 1 << 16
HTTP = b"HTTP/"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server sent."""

    status: int
    body: bytes


async def get(url: str, *, timeout_s: float, bytes_max: int, files: TlsFiles | None = None) -> Answer:
    """GET `url`; for https `files` say whom to trust. Raises Unreachable (no answer in time, connection lost, wrong
    certificate), AuthError (ours is refused), ProtocolViolation (no HTTP, too large), ConfigError (unusable files)."""
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    try:
        context = await asyncio.to_thread(client_context, files or TlsFiles()) if parts.scheme == "https" else None
        async with asyncio.timeout(timeout_s or None):
            return await _exchange(url, where, bytes_max, context)
    except TimeoutError as error:
        raise Unreachable(f"agent does not answer within {timeout_s:g} s", where=where) from error
    except OSError as error:
        if (fault := tls_fault(error, where)) is not None:
            raise fault from error
        raise Unreachable(f"agent cannot be reached: {error.strerror or error}", where=where) from error


async def _exchange(url: str, where: str, bytes_max: int, context: ssl.SSLContext | None) -> Answer:
    h11 = _h11()
    parts = urlsplit(url)
    port = parts.port or (443 if context is not None else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=READ_BYTES)
    try:
        connection = h11.Connection(h11.CLIENT)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = [("Host", parts.netloc), ("Accept", "text/xml, application/xml"), ("Connection", "close")]
        request = h11.Request(method="GET", target=target, headers=headers)
        writer.write(connection.send(request) + connection.send(h11.EndOfMessage()))
        return await _read_answer(connection, reader, where, bytes_max)
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await writer.wait_closed()


async def _read_answer(connection: Any, reader: asyncio.StreamReader, where: str, bytes_max: int) -> Answer:
    h11 = _h11()
    status, size, parts = 0, 0, []
    last = begun = b""
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                last = await reader.read(READ_BYTES)
                begun = begun if len(begun) >= len(HTTP) else begun + last
                if begun[: len(HTTP)] != HTTP[: len(begun)]:  # h11 would wait for the end of a header
                    raise ProtocolViolation("answer is no HTTP", where=where, frame=begun[:BAD_BYTES_MAX])
                connection.receive_data(last)
            elif isinstance(event, h11.Response):
                status = int(event.status_code)
            elif isinstance(event, h11.Data):
                size += len(event.data)
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, b"".join(parts))
            elif isinstance(event, h11.ConnectionClosed):
                raise Unreachable("agent closed the connection before it answered", where=where)
            if size > bytes_max:
                raise ProtocolViolation("answer is too large", where=where, expected=f"at most {bytes_max} bytes")
    except h11.RemoteProtocolError as error:
        if not last:
            raise Unreachable("agent closed the connection within its answer", where=where) from error
        raise ProtocolViolation(f"answer is no HTTP: {error}", where=where, frame=last[:BAD_BYTES_MAX]) from error


def _h11() -> Any:
    with needs_extra("an MTConnect agent", "mtconnect"):
        import h11
    return h11
