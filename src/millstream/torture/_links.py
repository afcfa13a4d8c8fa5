"""The links of the tortured site, each behind a proxy; faults that overlap add up."""

from __future__ import annotations

from collections.abc import Mapping

from millstream.sim import Fault as LinkFault
from millstream.sim import FaultProxy
from millstream.torture._network import drop
from millstream.torture._plan import Fault

LINK_KINDS = ("cut", "blackhole", "delay", "throttle", "drop")
DROP_MAX = 0.9


class Links:
    """`proxies` by name of the link; `ports` are those behind the proxies, for lost packets."""

    def __init__(self, proxies: Mapping[str, FaultProxy], ports: Mapping[str, int]) -> None:
        self._proxies = proxies
        self._ports = ports
        self._active: list[Fault] = []

    async def begin(self, fault: Fault) -> None:
        """One more fault on a link."""
        self._active.append(fault)
        await self._apply(fault)

    async def end(self, fault: Fault) -> None:
        """It is over."""
        self._active.remove(fault)
        await self._apply(fault)

    async def _apply(self, changed: Fault) -> None:
        if changed.kind == "drop":
            await drop(self._shares())
            return
        self._proxies[changed.target].set(link_fault([f for f in self._active if f.target == changed.target]))

    def _shares(self) -> dict[int, float]:
        kept: dict[int, float] = {}
        for fault in self._active:
            if fault.kind == "drop":
                port = self._ports[fault.target]
                kept[port] = min(DROP_MAX, 1 - (1 - kept.get(port, 0.0)) * (1 - fault.amount))
        return kept


def link_fault(active: list[Fault]) -> LinkFault:
    """What a proxy has to do for all the faults of its link. Pure."""
    rates = [f.amount for f in active if f.kind == "throttle"]
    return LinkFault(
        is_cut=any(f.kind == "cut" for f in active),
        is_swallowing=any(f.kind == "blackhole" for f in active),
        delay_s=sum(f.amount for f in active if f.kind == "delay"),
        bytes_per_s=min(rates) if rates else None,
    )
