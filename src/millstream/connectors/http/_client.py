"""Requests to a server, bounded in time and size. The only module that knows httpx."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from millstream.connectors.http._config import HttpConfig
from millstream.kernel import AuthError, Clock, ConfigError, DecodeError, PlantError, ProtocolViolation, Unreachable
from millstream.protocols.http_rules import BUSY, retry_after_s
from millstream.sdk import TlsFiles, client_context, needs_extra, tls_fault

URLS_REMEMBERED_MAX = 1_000  # whose last answer is kept, for servers that say "not modified"
BODIES_BYTES_MAX = 32 << 20  # of them together


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. `retry_after_s` is 0 unless it asked for a pause."""

    status: int
    body: bytes
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Known:
    body: bytes
    validators: dict[str, str]


class Client:
    """One server."""

    def __init__(self, client: Any, config: HttpConfig, clock: Clock) -> None:
        self._client = client
        self._config = config
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._bytes = 0

    async def ask(self, path: str) -> Answer:
        """Ask for the URL with `path` behind it. Raises Unreachable, AuthError, ProtocolViolation; DecodeError when the
        answer is too large or packed."""
        url = (self._config.url or "") + path
        known = self._known.get(url)
        try:
            async with asyncio.timeout(self._config.timeout):
                answer, validators = await self._exchange(url, known)
        except TimeoutError as error:
            raise Unreachable(
                "server does not answer in time", where=url, expected=f"{self._config.timeout:g}s", code="MS-1601"
            ) from error
        if answer.status == 401:
            raise AuthError("server refuses the credentials", where=url, code="MS-1602")
        if answer.status == 304 and known is not None:
            return Answer(200, known.body)
        if answer.status == 200:
            self._remember(url, answer.body, validators)
        return answer

    async def probe(self) -> None:
        """Ask for the configured URL itself: whatever it answers but a refusal of our credentials will do. Raises as
        `ask`."""
        try:
            await self.ask("")
        except DecodeError:
            return  # a value that is too large is no fault of the link

    async def _exchange(self, url: str, known: _Known | None) -> tuple[Answer, dict[str, str]]:
        import httpx

        content = self._config.body.encode() if self._config.body is not None else None
        headers = {"Content-Type": "application/json"} if content is not None else {}
        if known is not None:
            headers |= known.validators
        try:
            request = self._client.build_request(self._config.method, url, content=content, headers=headers)
            response = await self._client.send(request, stream=True)
            try:
                body = await self._body(response, url)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _fault(error, url) from error
        pause_s = 0.0
        if response.status_code in BUSY:
            pause_s = retry_after_s(response.headers.get("Retry-After"), self._clock.now_ns())
        return Answer(response.status_code, body, pause_s), _validators(response)

    async def _body(self, response: Any, url: str) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DecodeError("answer is packed, although that was not asked for", where=url, code="MS-1604")
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_raw():
            size += len(part)
            if size > self._config.bytes_max:
                raise DecodeError(
                    "answer is too large", where=url, expected=f"at most {self._config.bytes_max} bytes", code="MS-1604"
                )
            parts.append(part)
        return b"".join(parts)

    def _remember(self, url: str, body: bytes, validators: dict[str, str]) -> None:
        old = self._known.pop(url, None)
        self._bytes -= len(old.body) if old is not None else 0
        has_room = len(self._known) < URLS_REMEMBERED_MAX and self._bytes + len(body) <= BODIES_BYTES_MAX
        if validators and has_room:
            self._known[url] = _Known(body, validators)
            self._bytes += len(body)


def _validators(response: Any) -> dict[str, str]:
    """What to send so that the server may say "not modified" (RFC 9110, 13.1)."""
    found: dict[str, str] = {}
    if tag := response.headers.get("ETag"):
        found["If-None-Match"] = tag
    elif date := response.headers.get("Last-Modified"):
        found["If-Modified-Since"] = date
    return found


def _fault(error: Exception, url: str) -> PlantError:
    import httpx

    cause: BaseException | None = error
    while cause is not None:
        if (fault := tls_fault(cause, url)) is not None:
            return fault
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.RemoteProtocolError) and "without sending" not in str(error):
        if "incomplete" in str(error) or "peer closed" in str(error):
            return Unreachable("server closed the connection within its answer", where=url, code="MS-1601")
        return ProtocolViolation(f"answer is no HTTP: {error}", where=url, code="MS-1603")
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return ConfigError(f"address cannot be asked for: {error}", where=url, code="MS-1600")
    return Unreachable(f"server cannot be reached: {error or type(error).__name__}", where=url, code="MS-1601")


@asynccontextmanager
async def open_client(config: HttpConfig, clock: Clock) -> AsyncIterator[Client]:
    """A client with its own connections. Raises ConfigError for a missing library, secret or certificate."""
    with needs_extra("the HTTP connector", "http"):
        import httpx
    secret = await asyncio.to_thread(config.secret.resolve) if config.secret is not None else None
    headers = {"Accept": "application/json, text/plain;q=0.5, */*;q=0.1", "Accept-Encoding": "identity"}
    headers |= config.headers
    auth = None
    if secret is not None and (not secret.isprintable()):
        raise ConfigError("the secret holds a line break or a control character", where=config.where, code="MS-0103")
    if config.auth == "basic":
        auth = httpx.BasicAuth(config.user or "", secret or "")
    elif config.auth == "bearer":
        headers["Authorization"] = f"Bearer {secret}"
    elif config.auth == "header":
        headers[config.auth_header or ""] = secret or ""
    verify: bool | ssl.SSLContext = False
    if (config.url or "").startswith("https"):
        files = TlsFiles(config.ca_file, config.certificate, config.key, config.crl_file)
        verify = await asyncio.to_thread(client_context, files)
    limits = httpx.Limits(max_connections=4, max_keepalive_connections=4)
    async with httpx.AsyncClient(
        headers=headers, auth=auth, verify=verify, limits=limits, timeout=None, follow_redirects=False, trust_env=False
    ) as client:
        yield Client(client, config, clock)
