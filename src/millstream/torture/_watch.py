"""How long it takes until parts are counted again at the hub, fault by fault; and whether everything comes to rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millstream.bus import HUB_INTEGRITY, Credentials, RawConnection, StreamApi
from millstream.kernel import Clock, DecodeError, PlantError
from millstream.model import TagPath
from millstream.protocols.uns_payload import decode_sample
from millstream.protocols.uns_subject import tag_subject
from millstream.sim.producer_ledger import LedgerFollower
from millstream.torture import flows
from millstream.torture._plan import Fault
from millstream.torture._site import tag

POLL_S = 0.2
REQUEST_TIMEOUT_S = 2.0


@dataclass(slots=True)
class Waiting:
    """A fault that is over, and how many parts had been made then."""

    fault: Fault
    parts: int
    since_ns: int


@dataclass(slots=True)
class Watch:
    """Looks at the hub's newest counts of each machine. A fault has been recovered from when the hub has counted all
    the parts that were made until it was over."""

    machines: Sequence[str]
    follower: LedgerFollower
    clock: Clock
    counted: dict[str, int] = field(default_factory=dict)
    recoveries_s: list[float] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)

    def is_over(self, fault: Fault) -> None:
        """Begin to wait for the recovery from a fault."""
        self.waiting.append(Waiting(fault, self.follower.look().made_count, self.clock.monotonic_ns()))

    @property
    def counted_parts(self) -> int:
        """At the hub, as of the last look."""
        return sum(self.counted.values())

    async def run(self, hub: Mapping[str, Any]) -> None:
        """Look for ever."""
        credentials = Credentials(str(hub["user"]), str(hub["password"]))
        async with RawConnection(str(hub["nats_url"]), credentials=credentials, name="torture watch") as connection:
            api = StreamApi(connection)
            while True:
                try:
                    async with asyncio.timeout(REQUEST_TIMEOUT_S):
                        await self._look(api)
                except (PlantError, TimeoutError):
                    pass  # it was killed, or stands still: that is what is being measured
                self._settle()
                await self.clock.sleep(POLL_S)

    async def _look(self, api: StreamApi) -> None:
        for machine in self.machines:
            subject = tag_subject(TagPath.parse(tag(machine, flows.COUNTED)), "_count")
            found = await api.last(HUB_INTEGRITY, subject)
            if found is not None:
                try:
                    self.counted[machine] = int(decode_sample(found.payload).value)
                except (DecodeError, TypeError, ValueError):
                    continue  # the checker will tell what is wrong with it

    def _settle(self) -> None:
        now_ns, counted = self.clock.monotonic_ns(), self.counted_parts
        done = [w for w in self.waiting if counted >= w.parts]
        self.recoveries_s += [(now_ns - w.since_ns) / 1e9 for w in done]
        self.waiting = [w for w in self.waiting if w not in done]
