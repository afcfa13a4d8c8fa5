"""The HTTP connector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from millstream.connectors.http._client import open_client
from millstream.connectors.http._config import HttpConfig, HttpTagOptions
from millstream.connectors.http._poll_session import PollSession
from millstream.connectors.http._webhook_session import Numbers, WebhookSession
from millstream.http import ListenerOptions, Words, open_listener
from millstream.protocols.http_rules import parse_resource
from millstream.sdk import ConnectorConfig, ConnectorInfo, ConnectorTools, Tag, checked_address, checked_options

WEBHOOK = Words("webhook", "the HTTP connector", "http", address="MS-1600")


class HttpConnector:
    """Polls a server's JSON or text, or takes what is posted to the edge."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="http",
        summary="values polled from a server, or posted to the edge and answered when they are stored",
        spec="HTTP (RFC 9110, RFC 9112), JSON (RFC 8259)",
        maturity="gold",
    )
    Config: ClassVar[type[ConnectorConfig]] = HttpConfig
    TagOptions: ClassVar[type[HttpTagOptions]] = HttpTagOptions

    def __init__(self, config: HttpConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools
        self._numbers = Numbers()

    def check_tag(self, tag: Tag) -> None:
        """An address is `path#$.member`, `path` or `$.member`. Raises ConfigError."""
        with checked_address(tag, "MS-1600"):
            parse_resource(tag.address)
        checked_options(tag, HttpTagOptions, "MS-1600")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[PollSession | WebhookSession]:
        """Ask the server once, or listen. Raises Unreachable, AuthError, ProtocolViolation, ConfigError."""
        if self._config.mode == "poll":
            async with open_client(self._config, self._tools.clock) as client:
                if self._config.method == "GET":  # a POST may do something
                    await client.probe()
                yield PollSession(client, self._config, self._tools)
            return
        reference = self._config.secret
        secret = await asyncio.to_thread(reference.resolve) if reference is not None else None
        session = WebhookSession(self._config, secret, self._tools, self._numbers)
        config = self._config
        options = ListenerOptions(
            config.host, config.port, config.timeout, config.bytes_max, config.certificate, config.key
        )
        async with open_listener(options, WEBHOOK, session.check, session.handle) as listener:
            session.port = listener.port
            try:
                yield session
            finally:
                session.close()
