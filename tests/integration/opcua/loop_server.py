"""asyncua's server in the test's own loop, for what no command line can say."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncua import Server, ua

from millstream.kernel import free_port


@asynccontextmanager
async def loop_server(port: int | None = None) -> AsyncIterator[tuple[Server, str]]:
    """A server with an open endpoint, and where it listens."""
    server = Server()
    gc.disable()  # a hundred thousand objects that stay: looking at them again and again takes half of the time
    try:
        await server.init()
    finally:
        gc.enable()
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    endpoint = f"opc.tcp://127.0.0.1:{port or free_port()}"
    server.set_endpoint(endpoint)
    await server.start()
    try:
        yield server, endpoint
    finally:
        clock, server.iserver.time_task = server.iserver.time_task, None
        clock.cancel()  # its stop would wait for the next second of it
        await asyncio.gather(clock, return_exceptions=True)
        await server.stop()
