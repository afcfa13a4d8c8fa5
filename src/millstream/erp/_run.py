"""`millstream erp`: reads and confirms until it is told to stop, or shows once what it would do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from millstream.config import ConfirmConfig, ErpConfig, ReadConfig, RestSystem, SqlSystem, TrytonSystem
from millstream.erp._book import Book, open_book
from millstream.erp._incoming import Incoming
from millstream.erp._outgoing import Outgoing, Tell
from millstream.erp._rest import RestServer, open_rest
from millstream.erp._sql import SqlDatabase, open_sql
from millstream.erp._tryton import TrytonServer, open_tryton
from millstream.kernel import AuthError, Backoff, Clock, PlantError, Unreachable

if TYPE_CHECKING:
    from millstream.client import Plant

System: TypeAlias = "RestServer | SqlDatabase | TrytonServer"
BACK_OFF_S = (1.0, 60.0)


@asynccontextmanager
async def open_systems(config: ErpConfig, clock: Clock) -> AsyncIterator[Mapping[str, System]]:
    """The systems of a file by name; each is asked when it is needed. Raises ConfigError."""
    async with AsyncExitStack() as stack:
        found: dict[str, System] = {}
        for name, system in config.systems.items():
            match system:
                case TrytonSystem():
                    found[name] = await stack.enter_async_context(open_tryton(system, clock))
                case RestSystem():
                    found[name] = await stack.enter_async_context(open_rest(system, clock))
                case SqlSystem():
                    found[name] = await stack.enter_async_context(open_sql(system))
        yield found


class Erp:
    """One process's work. Made by `open_erp`."""

    def __init__(
        self, plant: Plant, config: ErpConfig, book: Book, systems: Mapping[str, System], clock: Clock, tell: Tell
    ) -> None:  # fmt: skip
        self._config, self._systems, self._clock, self._tell = config, systems, clock, tell
        self._reads = [(read, Incoming(plant, read, config.place, book)) for read in config.reads]
        self._confirms = [(each, Outgoing(plant, each, book, clock, tell)) for each in config.confirms]

    async def run(self) -> None:
        """Each read and each confirmation goes on by itself, and waits for its own system alone. Ends by being
        cancelled. Raises what is wrong with the file, and what the plant raises when it has gone."""
        async with asyncio.TaskGroup() as group:
            for read, incoming in self._reads:
                group.create_task(self._serve(read, partial(self._look, read, incoming)))
            for confirm, outgoing in self._confirms:
                group.create_task(self._serve(confirm, partial(self._send, confirm, outgoing)))

    async def check(self) -> Mapping[str, Any]:
        """What would come in and go out now; nothing is stored, neither here nor there."""
        reads, confirms = [], []
        for read, incoming in self._reads:
            reads.append({"read": read.name, **await self._checked(self._dry_look(read, incoming))})
        for confirm, outgoing in self._confirms:
            due = [
                {"order": t.order, "key": t.key, "revision": t.revision, "good": t.good, "rejected": t.rejected}
                for t in await outgoing.due()
            ]  # fmt: skip
            confirms.append({"confirm": confirm.name, "due": due})
        return {"reads": reads, "confirms": confirms}

    async def _dry_look(self, read: ReadConfig, incoming: Incoming) -> dict[str, Any]:
        found = await incoming.look(self._systems[read.system], is_dry=True)
        facts = [{"path": fact.path, "data": dict(fact.data)} for fact in found.facts]
        return {"rows": found.rows, "new": facts, "refused": _refusals(found.refused)}

    @staticmethod
    async def _checked(looking: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        try:
            return await looking
        except PlantError as error:
            return {"error": error.as_dict()}

    async def _serve(self, what: ReadConfig | ConfirmConfig, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again and again; a system that is away is asked less and less often."""
        backoff, trouble = Backoff(*BACK_OFF_S), ""
        while True:
            try:
                await work()
                if trouble:
                    self._tell({"name": what.name, "state": "well again"})
                trouble = ""
                backoff.reset()
                pause_s = float(what.every)
            except PlantError as error:
                if not isinstance(error, Unreachable | AuthError) and error.code[:5] != "MS-28":
                    raise
                pause_s = max(backoff.next_s(), getattr(error, "retry_after_s", 0.0) or 0.0)
                if str(error) != trouble:
                    self._tell({"name": what.name, "state": "in trouble", **error.as_dict()})
                trouble = str(error)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError  # `asyncio.wait_for` of Python 3.11 may give an answer in its place
            await self._clock.sleep(pause_s)

    async def _look(self, read: ReadConfig, incoming: Incoming) -> None:
        found = await incoming.look(self._systems[read.system])
        if found.taken or found.newly_refused:
            self._tell({
                "read": read.name, "rows": found.rows, "taken": found.taken, "refused": len(found.refused),
                "newly_refused": _refusals(found.newly_refused),
            })  # fmt: skip

    async def _send(self, confirm: ConfirmConfig, outgoing: Outgoing) -> None:
        for told in await outgoing.due():
            await outgoing.send(self._systems[confirm.system], told)
        await outgoing.forget()


def _refusals(refused: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    return [{"row": name, "reason": reason} for name, reason in refused.items()]


@asynccontextmanager
async def open_erp(plant: Plant, config: ErpConfig, clock: Clock, tell: Tell) -> AsyncIterator[Erp]:
    """The work of one file, with its journal. Raises ConfigError."""
    with open_book(config.journal) as book:
        async with open_systems(config, clock) as systems:
            yield Erp(plant, config, book, systems, clock, tell)
