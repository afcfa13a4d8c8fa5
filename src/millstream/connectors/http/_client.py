"""Requests to a server, bounded in time and size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from millstream.connectors.http._config import HttpConfig
from millstream.http import ClientOptions, HttpClient, Response, Words, open_http
from millstream.kernel import AuthError, Clock, ConfigError, DecodeError, Unreachable
from millstream.protocols.http_rules import BUSY, retry_after_s
from millstream.sdk import TlsFiles

URLS_REMEMBERED_MAX = 1_000  # whose last answer is kept, for servers that say "not modified"
BODIES_BYTES_MAX = 32 << 20  # of them together
SERVER = Words("server", "the HTTP connector", "http", "MS-1601", "MS-1603", "MS-1600")


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

    def __init__(self, client: HttpClient, config: HttpConfig, clock: Clock) -> None:
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
        content = self._config.body.encode() if self._config.body is not None else None
        headers = {"Content-Type": "application/json"} if content is not None else {}
        if known is not None:
            headers |= known.validators
        async with self._client.exchange(self._config.method, url, content=content, headers=headers) as response:
            body = await self._body(response, url)
        pause_s = 0.0
        if response.status in BUSY:
            pause_s = retry_after_s(response.headers.get("Retry-After"), self._clock.now_ns())
        return Answer(response.status, body, pause_s), _validators(response)

    async def _body(self, response: Response, url: str) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DecodeError("answer is packed, although that was not asked for", where=url, code="MS-1604")
        parts: list[bytes] = []
        size = 0
        async for part in response.parts:
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


def _validators(response: Response) -> dict[str, str]:
    """What to send so that the server may say "not modified" (RFC 9110, 13.1)."""
    found: dict[str, str] = {}
    if tag := response.headers.get("ETag"):
        found["If-None-Match"] = tag
    elif date := response.headers.get("Last-Modified"):
        found["If-Modified-Since"] = date
    return found


@asynccontextmanager
async def open_client(config: HttpConfig, clock: Clock) -> AsyncIterator[Client]:
    """A client with its own connections. Raises ConfigError for a missing library, secret or certificate."""
    secret = await asyncio.to_thread(config.secret.resolve) if config.secret is not None else None
    headers = {"Accept": "application/json, text/plain;q=0.5, */*;q=0.1", "Accept-Encoding": "identity"}
    headers |= config.headers
    basic = None
    if secret is not None and (not secret.isprintable()):
        raise ConfigError("the secret holds a line break or a control character", where=config.where, code="MS-0103")
    if config.auth == "basic":
        basic = (config.user or "", secret or "")
    elif config.auth == "bearer":
        headers["Authorization"] = f"Bearer {secret}"
    elif config.auth == "header":
        headers[config.auth_header or ""] = secret or ""
    tls = None
    if (config.url or "").startswith("https"):
        tls = TlsFiles(config.ca_file, config.certificate, config.key, config.crl_file)
    async with open_http(ClientOptions(headers, basic, tls), SERVER) as client:
        yield Client(client, config, clock)
