"""Requests to a master: JSON both ways, one after the other, bounded. The only module here that knows httpx."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from millstream.connectors.iolink._config import IoLinkConfig
from millstream.kernel import AuthError, PlantError, ProtocolViolation, Unreachable
from millstream.protocols.iolink_master import Ask
from millstream.sdk import TlsFiles, client_context, needs_extra, tls_fault

ANSWER_BYTES_MAX = 1 << 20
BAD_BYTES_MAX = 1 << 16


class Client:
    """One master."""

    def __init__(self, client: Any, config: IoLinkConfig) -> None:
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
        import httpx

        try:
            request = self._client.build_request(ask.method, url, json=ask.body)
            response = await self._client.send(request, stream=True)
            try:
                body = b""
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > ANSWER_BYTES_MAX:
                        raise ProtocolViolation(
                            "master's answer is too large", where=url, frame=body[:BAD_BYTES_MAX], code="MS-1652"
                        )
                return response.status_code, body
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _fault(error, url) from error


def _fault(error: BaseException, url: str) -> PlantError:
    cause: BaseException | None = error
    while cause is not None:
        if (fault := tls_fault(cause, url)) is not None:
            return fault
        cause = cause.__cause__ or cause.__context__
    return Unreachable(f"master cannot be reached: {error or type(error).__name__}", where=url, code="MS-1650")


@asynccontextmanager
async def open_client(config: IoLinkConfig) -> AsyncIterator[Client]:
    """A client with one connection. Raises ConfigError for a missing library, secret or certificate."""
    with needs_extra("the IO-Link connector", "http"):
        import httpx
    auth = None
    if config.user is not None and config.secret is not None:
        auth = httpx.BasicAuth(config.user, await asyncio.to_thread(config.secret.resolve))
    verify: bool | ssl.SSLContext = False
    if config.url.startswith("https"):
        verify = await asyncio.to_thread(client_context, TlsFiles(config.ca_file, crl_file=config.crl_file))
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with httpx.AsyncClient(
        headers=headers, auth=auth, verify=verify, limits=limits, timeout=None, follow_redirects=False, trust_env=False
    ) as client:
        yield Client(client, config)
