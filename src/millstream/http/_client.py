"""Requests to one server over kept connections. How large and how late an answer may be says who asks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from millstream.http._words import Words
from millstream.kernel import ConfigError, PlantError, ProtocolViolation, Unreachable
from millstream.sdk import TlsFiles, client_context, needs_extra, tls_fault


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a server is asked. `headers` go with each request, `basic` is user and password; with `tls` None the
    connections are plain."""

    headers: Mapping[str, str] = field(default_factory=dict)
    basic: tuple[str, str] | None = field(default=None, repr=False)
    tls: TlsFiles | None = None
    connections_max: int = 4


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose head is there. Names of `headers` fit in any case; `parts` gives the body as it comes, once."""

    status: int
    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]


class HttpClient:
    """Made by `open_http`."""

    def __init__(self, client: Any, words: Words) -> None:
        self._client = client
        self._words = words

    @asynccontextmanager
    async def exchange(
        self, method: str, url: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Response]:
        """One request; read the body within the scope. Raises Unreachable, AuthError, ProtocolViolation, ConfigError,
        there too."""
        import httpx

        try:
            request = self._client.build_request(method, url, content=content, headers=dict(headers or {}))
            response = await self._client.send(request, stream=True)
            try:
                yield Response(response.status_code, response.headers, response.aiter_raw())
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _fault(error, url, self._words) from error


def _fault(error: Exception, url: str, words: Words) -> PlantError:
    import httpx

    cause: BaseException | None = error
    while cause is not None:
        if (fault := tls_fault(cause, url)) is not None:
            return fault
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    if isinstance(error, httpx.RemoteProtocolError) and "without sending a response" not in text:
        if "incomplete" in text or "peer closed" in text:
            what = f"{words.peer} closed the connection within its answer"
            return Unreachable(what, where=url, code=words.unreachable)
        return ProtocolViolation(f"answer is no HTTP: {error}", where=url, code=words.protocol)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return ConfigError(f"address cannot be asked for: {error}", where=url, code=words.address)
    what = f"{words.peer} cannot be reached: {error or type(error).__name__}"
    return Unreachable(what, where=url, code=words.unreachable)


@asynccontextmanager
async def open_http(options: ClientOptions, words: Words) -> AsyncIterator[HttpClient]:
    """A client with connections of its own, opened as they are needed. Follows no redirect and asks no proxy. Raises
    ConfigError for a missing library or certificate."""
    with needs_extra(words.needed_by, words.extra):
        import httpx
    verify: bool | ssl.SSLContext = False
    if options.tls is not None:
        verify = await asyncio.to_thread(client_context, options.tls)
    auth = httpx.BasicAuth(*options.basic) if options.basic is not None else None
    limits = httpx.Limits(max_connections=options.connections_max, max_keepalive_connections=options.connections_max)
    async with httpx.AsyncClient(
        headers=dict(options.headers), auth=auth, verify=verify, limits=limits, timeout=None, follow_redirects=False,
        trust_env=False,
    ) as client:  # fmt: skip
        yield HttpClient(client, words)
