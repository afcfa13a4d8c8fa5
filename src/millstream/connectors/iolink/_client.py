"""Requests to a master: JSON both ways, one after the other, bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from millstream.connectors.iolink._config import IoLinkConfig
from millstream.http import ClientOptions, HttpClient, Words, open_http
from millstream.kernel import AuthError, ProtocolViolation, Unreachable
from millstream.protocols.iolink_master import Ask
from millstream.sdk import TlsFiles

ANSWER_BYTES_MAX = 1 << 20
BAD_BYTES_MAX = 1 << 16
MASTER = Words("master", "the IO-Link connector", "http", "MS-1650", "MS-1652", "MS-1653")


class Client:
    """One master."""

    def __init__(self, client: HttpClient, config: IoLinkConfig) -> None:
        self._client = client
        self._config = config
        self._turn = asyncio.Lock()  # masters take few connections, and some only one

    async def ask(self, ask: Ask) -> tuple[int, object]:
        """Status and document (None when there is none). Raises Unreachable, AuthError, ProtocolViolation."""
        url = self._config.url.rstrip("/") + ask.path
        try:
            async with self._turn, asyncio.timeout(self._config.timeout):
                status, body = await self._exchange(ask, url)
        except TimeoutError as error:
            raise Unreachable(
                "master does not answer in time", where=url, expected=f"{self._config.timeout:g}s", code="MS-1650"
            ) from error
        if status in (401, 403):
            raise AuthError(f"master refuses the credentials with status {status}", where=url, code="MS-1651")
        try:
            return status, json.loads(body) if body.strip() else None
        except (ValueError, RecursionError) as error:
            if status != 200:
                return status, None
            raise ProtocolViolation(
                "master's answer is no JSON", where=url, frame=body[:BAD_BYTES_MAX], code="MS-1652"
            ) from error

    async def _exchange(self, ask: Ask, url: str) -> tuple[int, bytes]:
        content = None if ask.body is None else json.dumps(ask.body, separators=(",", ":")).encode()
        headers = {} if content is None else {"Content-Type": "application/json"}
        async with self._client.exchange(ask.method, url, content=content, headers=headers) as response:
            body = b""
            async for part in response.parts:
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise ProtocolViolation(
                        "master's answer is too large", where=url, frame=body[:BAD_BYTES_MAX], code="MS-1652"
                    )
            return response.status, body


@asynccontextmanager
async def open_client(config: IoLinkConfig) -> AsyncIterator[Client]:
    """A client with one connection. Raises ConfigError for a missing library, secret or certificate."""
    basic = None
    if config.user is not None and config.secret is not None:
        basic = (config.user, await asyncio.to_thread(config.secret.resolve))
    tls = TlsFiles(config.ca_file, crl_file=config.crl_file) if config.url.startswith("https") else None
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with open_http(ClientOptions(headers, basic, tls, connections_max=1), MASTER) as client:
        yield Client(client, config)
