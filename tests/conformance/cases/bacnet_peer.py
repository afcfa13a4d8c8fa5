"""BACnet devices as processes: one of node-bacnet without subscriptions, one of bacpypes3 with them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).resolve().parents[2] / "peers"
OWN = "127.0.0.3/8"  # each end has its own address of the loopback network


def free_udp_port(address: str) -> int:
    """A port of `address` that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@dataclass
class BacnetDevice:
    """One process; the same port again after a restart."""

    command: Sequence[str]
    arguments: Sequence[str] = ()
    address: str = "127.0.0.2"
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start, and wait until it says that it listens."""
        self.port = self.port or free_udp_port(self.address)
        self.process = await asyncio.create_subprocess_exec(
            *self.command, self.address, str(self.port), *self.arguments, stdout=asyncio.subprocess.PIPE, cwd=PEERS
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = await self.process.stdout.readline()
        assert line, "the device ended before it was ready"
        assert json.loads(line)["port"] == self.port

    async def stop(self) -> None:
        """Gone at once, as with a power cut."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self.process = None

    def signal(self, number: signal.Signals) -> None:
        """Do what the device does on this signal."""
        assert self.process is not None
        self.process.send_signal(number)


@contextlib.asynccontextmanager
async def running(device: BacnetDevice) -> AsyncIterator[BacnetDevice]:
    """Started, and gone afterwards."""
    await device.start()
    try:
        yield device
    finally:
        await device.stop()


def node_device(*words: str) -> contextlib.AbstractAsyncContextManager[BacnetDevice]:
    """tests/peers/bacnet_device.js."""
    return running(BacnetDevice(("node", "bacnet_device.js"), words))


def bbmd(port: int) -> contextlib.AbstractAsyncContextManager[BacnetDevice]:
    """tests/peers/bacnet_bbmd.py, beside the devices that listen at the same port."""
    return running(BacnetDevice((sys.executable, "bacnet_bbmd.py"), (), "127.0.0.5", port))


def cov_device(pause_s: float = 0.1) -> contextlib.AbstractAsyncContextManager[BacnetDevice]:
    """tests/peers/bacnet_cov_device.py."""
    return running(BacnetDevice((sys.executable, "bacnet_cov_device.py"), (str(pause_s),)))
