"""Requests with JSON, bounded in time and size; the one place where their faults are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from millstream.http import ClientOptions, HttpClient, Words, open_http
from millstream.kernel import AuthError, Clock, DecodeError, ProtocolViolation, Unreachable
from millstream.protocols.http_rules import BUSY, retry_after_s
from millstream.protocols.mqtt_mapping import Payload
from millstream.sdk import TlsFiles

WORDS = Words("system", "`millstream erp`", "http", "MS-2800", "MS-2802", "MS-2805")


@dataclass(frozen=True, slots=True)
class WebOptions:
    """How a server is asked."""

    timeout_s: float
    bytes_max: int = 16 << 20
    headers: Mapping[str, str] = field(default_factory=dict)
    basic: tuple[str, str] | None = field(default=None, repr=False)
    tls: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    url: str

    def json(self) -> Any:
        """The body. Raises ProtocolViolation (MS-2802)."""
        try:
            return Payload(self.body).document()
        except DecodeError as error:
            raise ProtocolViolation(
                "the answer is no JSON", where=self.url, got=f"{self.status} {self.body[:80]!a}", code="MS-2802"
            ) from error


class Web:
    """One server. Made by `open_web`."""

    def __init__(self, client: HttpClient, options: WebOptions, clock: Clock) -> None:
        self._client, self._options, self._clock = client, options, clock

    async def ask(
        self, method: str, url: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:  # fmt: skip
        """One request. Raises Unreachable (also when the server says that it is busy or broken), AuthError for 401,
        ProtocolViolation."""
        try:
            async with asyncio.timeout(self._options.timeout_s):
                answer = await self._ask(method, url, content, headers or {})
        except TimeoutError as error:
            raise Unreachable(
                "the system does not answer in time", where=url, expected=f"within {self._options.timeout_s:g} s",
                code="MS-2800",
            ) from error  # fmt: skip
        if answer.status == 401:
            raise AuthError("the system refuses the log-in", where=url, code="MS-2801")
        if answer.status in BUSY:
            pause_s = retry_after_s(answer.headers.get("Retry-After"), self._clock.now_ns())
            raise Unreachable(
                "the system is busy or broken", where=url, got=f"{answer.status} {_start(answer.body)}",
                code="MS-2800", retry_after_s=pause_s,
            )  # fmt: skip
        return answer

    async def _ask(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        more = {"Content-Type": "application/json"} if content is not None else {}
        parts, size = [], 0
        async with self._client.exchange(method, url, content=content, headers={**more, **headers}) as response:
            async for part in response.parts:
                size += len(part)
                if size > self._options.bytes_max:
                    raise ProtocolViolation(
                        "the answer is too large", where=url, expected=f"at most {self._options.bytes_max} bytes",
                        next_step="ask for smaller pages", code="MS-2802",
                    )  # fmt: skip
                parts.append(part)
            return Answer(response.status, b"".join(parts), response.headers, url)


def _start(body: bytes) -> str:
    return " ".join(body[:200].decode("utf-8", "replace").split())


def said(answer: Answer) -> str:
    """A refusal's own words, short."""
    return f"{answer.status} {_start(answer.body)}".strip()


@asynccontextmanager
async def open_web(options: WebOptions, clock: Clock) -> AsyncIterator[Web]:
    """A client with connections of its own. Raises ConfigError for a missing library or certificate."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", **options.headers}
    async with open_http(ClientOptions(headers, options.basic, options.tls), WORDS) as client:
        yield Web(client, options, clock)
