"""Carries a plan out, minute by minute as it says. Every fault is taken back, also when the run is cut off."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from millstream.client import connect
from millstream.kernel import Clock, PlantError
from millstream.rig import Child
from millstream.torture._broker import PlainBroker
from millstream.torture._keeper import Keeper
from millstream.torture._links import LINK_KINDS, Links
from millstream.torture._plan import Fault
from millstream.torture._processes import strike
from millstream.torture._site import tag

FILLER = "x" * 200_000
FILL_REFUSALS_MAX = 3  # in a row: the bound is reached
FILL_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Injector:
    """`on_over` is told of each fault that is over. `done` counts faults that struck something."""

    keeper: Keeper
    links: Links
    device: Child
    broker: PlainBroker | None
    clock: Clock
    on_over: Callable[[Fault], None]
    done: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    async def run(self, plan: list[Fault]) -> None:
        """All faults, each at its time; returns when the last is over."""
        begun_ns = self.clock.monotonic_ns()
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await self.clock.sleep(max(0.0, fault.at_s - (self.clock.monotonic_ns() - begun_ns) / 1e9))
                group.create_task(self._inject(fault), name=f"{fault.kind} {fault.target}")

    async def _inject(self, fault: Fault) -> None:
        struck = await self._act(fault)
        (self.done if struck else self.missed)[fault.kind] += 1
        self.on_over(fault)

    async def _act(self, fault: Fault) -> bool:
        if fault.kind in LINK_KINDS:
            return await self._link(fault)
        if fault.kind == "kill":
            await self._kill_plain(fault)
            return bool(self.keeper.strike(fault.target, signal.SIGKILL))
        if fault.kind == "pause":
            return await self._pause(fault)
        if fault.kind == "duplicate":
            await self.device.tell({"do": "duplicate", "count": int(fault.amount)})
            return True
        if fault.kind == "clock":
            return await self._wrong_clock(fault)
        return await self._fill(fault)

    async def _link(self, fault: Fault) -> bool:
        await self.links.begin(fault)
        try:
            await self.clock.sleep(fault.for_s)
        finally:
            await self.links.end(fault)
        return True

    async def _pause(self, fault: Fault) -> bool:
        stopped = self.keeper.strike(fault.target, signal.SIGSTOP)
        try:
            await self.clock.sleep(fault.for_s)
        finally:
            for process in stopped:
                strike(process, signal.SIGCONT)
        return bool(stopped)

    async def _wrong_clock(self, fault: Fault) -> bool:
        await self.device.tell({"do": "clock", "offset_s": fault.amount})
        try:
            await self.clock.sleep(fault.for_s)
        finally:
            await self.device.tell({"do": "clock", "offset_s": 0})
        return True

    async def _kill_plain(self, fault: Fault) -> None:
        """The comparison meets the same: its broker when a server is killed, its service when any other is."""
        if self.broker is not None:
            await self.broker.strike(is_broker=fault.target.endswith("-server"))

    async def _fill(self, fault: Fault) -> bool:
        """Cut the uplink, fill the edge's stream to its bound, leave it full for a while."""
        cut = Fault("cut", fault.at_s, fault.for_s, "uplink")
        await self.links.begin(cut)
        try:
            is_full = await self._fill_up()
            await self.clock.sleep(fault.for_s)
        finally:
            await self.links.end(cut)
        return is_full

    async def _fill_up(self) -> bool:
        node, refusals = self.keeper.node("edge"), 0
        edge_at = connect(url=str(node["nats_url"]), user=str(node["user"]), password=str(node["password"]))
        try:
            async with asyncio.timeout(FILL_TIMEOUT_S), edge_at as edge:
                while refusals < FILL_REFUSALS_MAX:
                    try:
                        await edge.publish(tag("filler", "bulk"), FILLER, kind="state")
                        refusals = 0
                    except PlantError:
                        refusals += 1
        except (TimeoutError, PlantError):
            return False  # another fault was in the way
        return True
