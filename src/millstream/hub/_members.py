"""A hub that is several boxes: one of them does the hub's work, the others keep history and stand by.

Streams and buckets are the cluster's, so whoever leads finds everything where the one before left it. Each member reads
the streams into a history of its own; so the one that takes over has answers at once, and none of it is copied.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, Protocol

import msgspec

from millstream.bus import Box, Credentials, Lease, NatsServer, RawConnection
from millstream.config import HubConfig
from millstream.historian import HistorianService
from millstream.hub._plant import HubPlant
from millstream.hub._standing_history import standing_history
from millstream.kernel import Backoff, Clock, PlantError
from millstream.sdk import Log

LEASE = "hub"
ASK_S = 2.0
State = Literal["waits", "stands by", "leads"]


class Work(Protocol):
    """What the members of a hub share. Both run until cancelled, and say when they have begun."""

    async def lead(self, begun: Callable[[], None]) -> None:
        """Do it. Raises PlantError when it cannot be done here."""
        ...

    async def stand_by(self, begun: Callable[[], None]) -> None:
        """Be ready to, while another member does it."""
        ...

    def about(self) -> dict[str, Any]:
        """What the status of the member says of it."""
        ...


class OnePlant:
    """The work of a hub without tenants; `make_plant` makes the plant each time that this member leads."""

    def __init__(
        self, config: HubConfig, server: NatsServer, make_plant: Callable[[], HubPlant], *, clock: Clock, log: Log
    ) -> None:
        self._config = config
        self._server = server
        self._make_plant = make_plant
        self._clock = clock
        self._log = log
        self._standby: HistorianService | None = None
        self.plant: HubPlant | None = None

    @property
    def historian(self) -> HistorianService | None:
        """This member's own history, whether it leads or stands by; None while it changes over."""
        return self._standby if self.plant is None else self.plant.historian

    def about(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    async def lead(self, begun: Callable[[], None]) -> None:
        """Have the plant."""
        try:
            async with self._make_plant() as plant:
                self.plant = plant
                begun()
                await plant.run()
        finally:
            self.plant = None

    async def stand_by(self, begun: Callable[[], None]) -> None:
        """Keep history."""
        if self._config.historian is None or self._config.historian.engine is not None:
            begun()

        def change(historian: HistorianService | None) -> None:
            self._standby = historian
            if historian is not None:
                begun()

        async with self._server.connection(f"history {self._config.hub.name}") as connection:
            await standing_history(
                self._config, connection, None, clock=self._clock, log=self._log, on_change=change
            )  # fmt: skip


class Member:
    """This box's part. Enter it, then run `run`; `login` is how it enters the account where the lease is, None for that
    of the hub's own clients."""

    def __init__(
        self, config: HubConfig, server: NatsServer, work: Work, login: Credentials | None, *, clock: Clock, log: Log
    ) -> None:
        assert config.cluster is not None
        self._config = config
        self._member = config.cluster.member
        self._box = Box("hub", config.hub.name, self._member, "leader", server, login)
        self._work = work
        self._clock = clock
        self._log = log
        self._stack = contextlib.AsyncExitStack()
        self._connection: RawConnection
        self._lease: Lease
        self.state: State = "waits"
        self.takeovers_count = 0

    async def __aenter__(self) -> Member:
        try:
            self._connection = await self._stack.enter_async_context(self._box.connection())
            self._lease = Lease(self._connection, LEASE, self._member, self._clock, self._log.warning)
            await self._stack.enter_async_context(self._box.service(self.status))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """Stand by, lead, stand by again; until cancelled."""
        backoff = Backoff(floor_s=0.5, ceiling_s=10.0)
        while True:
            async with self._standing_by():
                await self._lease.wait()
            self._log.info("this member leads", member=self._member, term=self._lease.term)
            try:
                await self._lead()
            except* PlantError as errors:
                for error in errors.exceptions:
                    self._log.warning("this member does not lead any more", member=self._member, error=str(error))
            finally:
                self.state = "waits"
                await self._lease.release()
            await self._clock.sleep(backoff.next_s())  # so that another one comes first

    async def _lead(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lease.keep(), name="lease")
            await self._work.lead(self._leads)

    def _leads(self) -> None:
        self.state = "leads"
        self.takeovers_count += 1

    @contextlib.asynccontextmanager
    async def _standing_by(self) -> AsyncIterator[None]:
        """While another one leads. A member that is out of reach waits for the others."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._stand_by(), name="a member that stands by")
            yield
            task.cancel()

    async def _stand_by(self) -> None:
        while True:
            with contextlib.suppress(PlantError):
                await self._work.stand_by(self._stands_by)
            await self._clock.sleep(1.0)

    def _stands_by(self) -> None:
        self.state = "stands by"

    async def leaders_status(self) -> dict[str, Any] | None:
        """What the member that leads says of the hub; None while none does."""
        try:
            answer = await self._connection.request(f"millstream.node.{self._config.hub.name}.status", timeout_s=ASK_S)
            return msgspec.json.decode(answer[4], type=dict[str, Any])
        except (PlantError, msgspec.DecodeError):
            return None

    # -- what others see ----------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """This member as JSON."""
        shown = self._box.status(
            self._lease, self.state, takeovers=self.takeovers_count,
            is_current=self.state != "waits" and await self._box.is_current(),
        )  # fmt: skip
        return shown | self._work.about()
