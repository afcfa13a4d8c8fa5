"""A site of several boxes: one of them works, the others keep its streams and stand by.

All that a takeover needs is in the site's streams: positions, totals, the journal of commands. So whoever gets the
lease goes on behind the last record, and who had it before is fenced by that record, however late it notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Literal, Self

import msgspec

from millstream.bus import Box, Lease, NatsServer, RawConnection
from millstream.config import EdgeConfig
from millstream.kernel import Backoff, Clock, PlantError
from millstream.sdk import Log

LEASE = "edge"
ASK_S = 2.0
State = Literal["stands by", "works"]


class Turns:
    """This box's part. Enter it, then run `run` with what is to be done while it is this box's turn."""

    def __init__(self, config: EdgeConfig, server: NatsServer, *, clock: Clock, log: Log) -> None:
        assert config.cluster is not None
        self._name, self._member = config.edge.name, config.cluster.member
        self._box = Box("edge", config.edge.name, self._member, "works", server)
        self._clock = clock
        self._log = log
        self._stack = AsyncExitStack()
        self._connection: RawConnection
        self._lease: Lease
        self.state: State = "stands by"
        self.takeovers_count = 0

    async def __aenter__(self) -> Self:
        try:
            self._connection = connection = await self._stack.enter_async_context(self._box.connection())
            self._lease = Lease(connection, LEASE, self._member, self._clock, self._log.warning)
            await self._stack.enter_async_context(self._box.service(self.status))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._lease.release()
        finally:
            await self._stack.aclose()

    @property
    def connection(self) -> RawConnection:
        """This box's own, whether it works or not."""
        return self._connection

    async def run(
        self, work: Callable[[], Awaitable[None]], stop: asyncio.Event, beside: Callable[[], Awaitable[None]]
    ) -> None:
        """Stand by, work, stand by again, until `stop` is set. `work` ends by itself then; it is cancelled when another
        box may have taken over. `beside` is done while this one stands by: until it is cancelled, and has ended before
        `work` begins."""
        standing = _Standing(beside)
        try:
            await self._take_turns(work, stop, standing)
        finally:
            await standing.end()

    async def _take_turns(self, work: Callable[[], Awaitable[None]], stop: asyncio.Event, standing: _Standing) -> None:
        backoff = Backoff(floor_s=0.5, ceiling_s=10.0)
        standing.begin()
        while not await self._is_stopped_before(self._lease.wait(), stop):
            self._log.info("this member works", member=self._member, term=self._lease.term)
            try:
                await self._work(work, standing)
            except* PlantError as errors:
                for error in errors.exceptions:
                    self._log.warning("this member does not work any more", member=self._member, error=str(error))
            finally:
                self.state = "stands by"
                await self._lease.release()
            standing.begin()
            await self._is_stopped_before(self._clock.sleep(backoff.next_s()), stop)  # so that another one comes first

    async def _work(self, work: Callable[[], Awaitable[None]], standing: _Standing) -> None:
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._lease.keep(), name="lease")
            await standing.end()
            self.state = "works"
            self.takeovers_count += 1
            await work()
            keeping.cancel()

    async def _is_stopped_before(self, wait: Awaitable[None], stop: asyncio.Event) -> bool:
        """Whether `stop` is set, now or before `wait` has ended."""
        waits = [asyncio.ensure_future(wait), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.wait(waits)
        return stop.is_set()

    # -- what others see ----------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """This member as JSON."""
        return self._box.status(
            self._lease, self.state, takeovers=self.takeovers_count, is_current=await self._box.is_current()
        )

    async def told_by_worker(self) -> dict[str, Any]:
        """The status of the box that works, as it tells it; of this one while none answers."""
        try:
            answer = await self._connection.request(f"millstream.node.{self._name}.status", timeout_s=ASK_S)
            return dict(msgspec.json.decode(answer[4], type=dict[str, Any]))
        except (PlantError, msgspec.DecodeError):
            return await self.status()


class _Standing:
    """What a box does while it does not work."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._task: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Unless it is under way."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._work())

    async def end(self) -> None:
        """Returns when it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
