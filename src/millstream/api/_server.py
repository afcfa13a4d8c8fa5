"""Serves the application with uvicorn inside the node's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.api._tls import server_context
from millstream.kernel import ConfigError, needs_extra

if TYPE_CHECKING:
    from starlette.applications import Starlette

TOKEN_BYTES = 32
SHUTDOWN_S_MAX = 5
CONNECTIONS_MAX = 200


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where the API listens."""

    host: str
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Base address."""
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def load_or_make_token(path: Path) -> str:
    """The bearer token kept in `path`; a random one is made, readable by the owner only, when there is none."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token


@asynccontextmanager
async def serve_api(
    app: Starlette, *, host: str = "127.0.0.1", port: int = 0, certificate: Path | None = None, beside: str = ""
) -> AsyncIterator[ApiAddress]:
    """Serve while the scope is open; port 0 picks a free one. With a `certificate` (and its key, in one file) by TLS.
    The module `beside`, which only a person's first act needs, is read meanwhile, so that none has to wait for it.
    Raises ConfigError when the port is taken."""
    with needs_extra("the HTTP API", "api"):
        import uvicorn

    class Server(uvicorn.Server):
        """Leaves the signals to the node."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Install nothing."""
            yield

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        limit_concurrency=CONNECTIONS_MAX,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S_MAX,
        ws="none",
    )
    config.load()
    if certificate is not None:
        config.ssl = await asyncio.to_thread(server_context, certificate)
    listener = _listen(host, port)
    server = Server(config)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            if beside:
                group.create_task(asyncio.to_thread(importlib.import_module, beside))
            try:
                yield ApiAddress(host, listener.getsockname()[1], "http" if certificate is None else "https")
            finally:
                server.should_exit = True
    finally:
        for each in getattr(server, "servers", ()):  # cancelled, it leaves them to a loop that goes on watching
            each.close()
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=CONNECTIONS_MAX)
    except OSError as error:
        raise ConfigError(
            f"HTTP API cannot listen: {error.strerror or error}",
            where=f"{host}:{port}",
            next_step="choose another port",
            code="MS-0601",
        ) from error
    # Connections inherit it. asyncio sets it only where the socket names its protocol, which this one does not. Without
    # it the body of an answer waits until the client has acknowledged the head: 40 ms for each but the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
