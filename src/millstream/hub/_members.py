"""A hub that is several boxes: one of them does the hub's work, the others keep history and stand by.

Streams and buckets are the cluster's, so whoever leads finds everything where the one before left it. Each member reads
the streams into a history of its own; so the one that takes over has answers at once, and none of it is copied.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import msgspec

from millstream.bus import Box, Lease, NatsServer
from millstream.config import HubConfig
from millstream.historian import HistorianService
from millstream.hub._plant import HubPlant, hub_historian
from millstream.hub._tenants import history_dir
from millstream.kernel import Backoff, Clock, NotFoundError, PlantError
from millstream.sdk import Log

LEASE = "hub"
ASK_S = 2.0
State = Literal["waits", "stands by", "leads"]


class Member:
    """This box's part. Enter it, then run `run`; `make_plant` makes the plant each time that this member leads."""

    def __init__(
        self, config: HubConfig, server: NatsServer, make_plant: Callable[[], HubPlant], *, clock: Clock, log: Log
    ) -> None:
        assert config.cluster is not None
        self._config = config
        self._member = config.cluster.member
        self._box = Box("hub", config.hub.name, self._member, "leader", server)
        self._make_plant = make_plant
        self._clock = clock
        self._log = log
        self._stack = contextlib.AsyncExitStack()
        self._lease: Lease
        self.state: State = "waits"
        self.plant: HubPlant | None = None
        self._standby: HistorianService | None = None
        self.takeovers_count = 0

    async def __aenter__(self) -> Member:
        try:
            connection = self._box.server.connection(f"hub {self._config.hub.name} {self._member}")
            self._connection = await self._stack.enter_async_context(connection)
            self._lease = Lease(self._connection, LEASE, self._member, self._clock)
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
                self.plant = None
                self.state = "waits"
                await self._lease.release()
            await self._clock.sleep(backoff.next_s())  # so that another one comes first

    async def _lead(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lease.keep(), name="lease")
            async with self._make_plant() as plant:
                self.plant, self.state = plant, "leads"
                self.takeovers_count += 1
                await plant.run()

    @contextlib.asynccontextmanager
    async def _standing_by(self) -> AsyncIterator[None]:
        """Keep history while another one leads."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._keep_history(), name="history of a member that stands by")
            yield
            task.cancel()

    async def _keep_history(self) -> None:
        if self._config.historian is None or self._config.historian.engine is not None:  # a server has one writer
            self.state = "stands by"
            return
        while True:
            try:
                async with hub_historian(
                    self._config, self._connection, history_dir(self._config), clock=self._clock, log=self._log
                ) as self._standby:
                    self.state = "stands by"
                    await asyncio.Event().wait()
            except NotFoundError:
                pass  # the first hub of this cluster is making its streams
            except PlantError as error:
                self._log.warning("history waits", member=self._member, error=str(error))
            finally:
                self._standby = None
            await self._clock.sleep(1.0)

    @property
    def historian(self) -> HistorianService | None:
        """This member's own history, whether it leads or stands by; None while it changes over."""
        return self._standby if self.plant is None else self.plant.historian

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
        return self._box.status(
            self._lease, self.state, takeovers=self.takeovers_count,
            is_current=self.state != "waits" and await self._box.is_current(),
        )  # fmt: skip
