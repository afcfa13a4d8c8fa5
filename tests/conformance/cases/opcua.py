"""OPC UA against the simulated plant, a process of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import millstream.connectors.opcua as package
import warm
from millstream.connectors.opcua import OpcUaConnector
from millstream.sdk import Tag
from millstream.sdk.testing import ConformanceCase, NotApplicable, Peer

READY_S = 120.0


@dataclass
class PlantPeer(Peer):
    """Produces by itself; its link breaks by its end."""

    port: int = 0
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> dict[str, Any]:
        """On the same port again after a break."""
        self.process = await asyncio.create_subprocess_exec(
            *warm.python("-m", "millstream.sim.opcua_plant", "--port", str(self.port), "--tags", "2"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_S):
            ready: dict[str, Any] = json.loads(await self.process.stdout.readline())
        self.port = int(ready["port"])
        return ready

    async def stop(self) -> None:
        """Kill it, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
            self.process = None

    async def break_link(self) -> None:
        """The server is gone."""
        await self.stop()

    async def restore_link(self) -> None:
        """The server is back."""
        await self.start()

    async def poison(self) -> None:
        """Shown elsewhere, with a peer that sends what a server never would."""
        raise NotApplicable("broken frames are tested in tests/integration/opcua")

    async def flood(self, limit_bytes: int) -> int:
        """Shown elsewhere, with values instead of bytes."""
        raise NotApplicable("back-pressure is tested in tests/integration/opcua: no publish request, no data")


class OpcUaCase(ConformanceCase):
    """Subscriptions to a live server."""

    connector = OpcUaConnector
    folder: ClassVar[Path] = Path(package.__file__).parent
    deadline_s = 60.0

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A plant with counters that change by themselves."""
        peer = PlantPeer({}, ())
        try:
            ready = await peer.start()
            peer.config = {"endpoint": f"opc.tcp://127.0.0.1:{peer.port}", "security": {"policy": "none"}}
            peer.tags = [Tag(address, address, 0.1, 0.1) for address in ready["tags"][:1]]
            peer.samples_count, peer.is_endless = 25, True  # its history rewinds it
            peer.bad_tag = Tag("bad", f"nsu={ready['namespace']};s=no_such_node", 0.1, 0.1)
            yield peer
        finally:
            await peer.stop()


CASES = (OpcUaCase(),)
