"""A relay of datagrams that loses and changes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

ADDRESS = "127.0.0.5"


class _Side(asyncio.DatagramProtocol):
    """One socket of the relay."""

    def __init__(self, on_datagram: Callable[[bytes, Any], None]) -> None:
        self._on_datagram = on_datagram

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Pass it on."""
        self._on_datagram(data, addr)


class Relay:
    """Stands at `port` of 127.0.0.5 for a device. `change` gives what becomes of each datagram from the device."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._client: Any = None
        self._near: Any = None
        self._far: Any = None
        self.change: Callable[[bytes], bytes | None] = bytes
        self.port = 0

    async def open(self) -> None:
        """Bind both sides."""
        loop = asyncio.get_running_loop()
        self._near, _ = await loop.create_datagram_endpoint(lambda: _Side(self._ask), local_addr=(ADDRESS, 0))
        self._far, _ = await loop.create_datagram_endpoint(lambda: _Side(self._answer), local_addr=(ADDRESS, 0))
        self.port = self._near.get_extra_info("sockname")[1]

    def close(self) -> None:
        """Both sides."""
        self._near.close()
        self._far.close()

    def _ask(self, data: bytes, addr: Any) -> None:
        self._client = addr
        self._far.sendto(data, self._target)

    def _answer(self, data: bytes, addr: Any) -> None:
        changed = self.change(data)
        if changed is not None and self._client is not None and not self._near.is_closing():
            self._near.sendto(changed, self._client)


@asynccontextmanager
async def relayed(target: tuple[str, int]) -> AsyncIterator[Relay]:
    """Open, and closed afterwards."""
    relay = Relay(target)
    await relay.open()
    try:
        yield relay
    finally:
        relay.close()
        await asyncio.sleep(0)
