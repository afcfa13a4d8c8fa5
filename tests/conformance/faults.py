"""The fault layer of ``millstream sim fault`` as the kit wants one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from millstream.sdk.testing import FaultyWire, WireFault
from millstream.sim import Fault, FaultProxy, Kind, Mischief

SEED = 4
DELAY_S = 0.02
KINDS = {
    WireFault.HALF_FRAMES: Kind.HALF_FRAMES,
    WireFault.WRONG_LENGTH: Kind.WRONG_LENGTH,
    WireFault.TORN: Kind.TORN,
    WireFault.SILENCE: Kind.FREEZE,
}


class ProxyWire:
    """A proxy on loopback. What is slow is slow in both directions."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._mischiefs: list[Mischief] = []

    @property
    def port(self) -> int:
        """Of the proxy."""
        return self._proxy.port

    @property
    def treated_count(self) -> int:
        """By all that it was told to do."""
        return sum(mischief.counts.total() for mischief in self._mischiefs)

    def misbehave(self, *faults: WireFault) -> None:
        """Every answer gets one of the treatments."""
        mischief = Mischief([KINDS[fault] for fault in faults if fault in KINDS], 1.0, SEED)
        self._mischiefs.append(mischief)
        self._proxy.treat(mischief)
        self._proxy.set(Fault(delay_s=DELAY_S if WireFault.SLOW in faults else 0.0))

    def behave(self) -> None:
        """As if it were not there."""
        self._proxy.treat(None)
        self._proxy.set(Fault())


@asynccontextmanager
async def faulty_wire(host: str, port: int) -> AsyncIterator[FaultyWire]:
    """A proxy in front of the device."""
    async with FaultProxy(host, port) as proxy:
        yield ProxyWire(proxy)
