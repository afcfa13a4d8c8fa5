"""BACnet against a device that has to be polled, of another make, and one that reports changes."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import millstream.connectors.bacnet as package
from cases import bacnet_peer
from millstream.connectors.bacnet import BacnetConnector
from millstream.sdk import Tag, Write
from millstream.sdk.testing import ConformanceCase, ExpectedValue, NotApplicable, Peer

FAST_S = 0.1
POLLED_TAGS = tuple(
    Tag(name, address, sampling_interval_s=FAST_S)
    for name, address in (("air", "ai:1"), ("fan", "binary-output:1"), ("mode", "multi-state-value:1"))
)
COV_TAGS = (Tag("counter", "analog-value:1"), Tag("name", "device:999.object-name", sampling_interval_s=FAST_S))
EXTREMES = (
    ExpectedValue(Tag("nan", "analog-value:2001"), float("nan")),
    ExpectedValue(Tag("minus infinity", "analog-value:2002"), float("-inf")),
    ExpectedValue(Tag("double", "large-analog-value:1"), 5e-324),
    ExpectedValue(Tag("text", "characterstring-value:1"), "größer als"),
    ExpectedValue(Tag("list", "device:1234.object-list[1]"), "analog-input:1"),
)


@dataclass
class DevicePeer(Peer):
    """A process, reached by UDP."""

    is_tcp: bool = False
    device: bacnet_peer.BacnetDevice = field(default_factory=lambda: bacnet_peer.BacnetDevice(()))

    async def break_link(self) -> None:
        """The device is without power."""
        await self.device.stop()

    async def restore_link(self) -> None:
        """It has started again."""
        await self.device.start()

    async def poison(self) -> None:
        """A frame of a version that does not exist."""
        if self.device.command[0] != "node":
            raise NotApplicable("this device has no lever for it; the other one has")
        self.device.signal(signal.SIGUSR2)

    async def flood(self, limit_bytes: int) -> int:
        """UDP holds nobody back."""
        raise NotApplicable("a datagram that nobody takes is dropped, and a confirmed change is sent again")


def config_for(device: bacnet_peer.BacnetDevice) -> dict[str, Any]:
    """Quick to see that it is gone."""
    return {
        "host": device.address, "port": device.port, "bind": bacnet_peer.OWN, "timeout": "1s", "retries": 1,
        "watchdog": "300ms",
    }  # fmt: skip


class NodeCase(ConformanceCase):
    """node-bacnet: no subscriptions, so polled."""

    connector = BacnetConnector
    folder: ClassVar[Path] = Path(package.__file__).parent
    needs: ClassVar[tuple[str, ...]] = ("node-bacnet",)

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """The device."""
        async with bacnet_peer.node_device() as device:
            writes = (Write(Tag("setpoint", "av:7"), 2.5),)
            bad = Tag("bad", "av:77", sampling_interval_s=FAST_S)
            yield DevicePeer(config_for(device), POLLED_TAGS, bad, EXTREMES, writes, device=device)


class CovCase(ConformanceCase):
    """bacpypes3: the same stack as ours, but it reports changes."""

    connector = BacnetConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """The device."""
        async with bacnet_peer.cov_device(FAST_S) as device:
            writes = (Write(Tag("probe", "av:1"), 2.5),)
            bad = Tag("bad", "av:77", sampling_interval_s=FAST_S)
            yield DevicePeer(config_for(device), COV_TAGS, bad, (), writes, device=device)


CASES = (NodeCase(), CovCase())
