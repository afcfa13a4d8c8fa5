"""The connectors of a running edge, by name: started, stopped at a boundary, replaced where their entry changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from millstream.config import ConnectorEntry
from millstream.edge._lifecycle import State
from millstream.edge._supervisor import Supervisor
from millstream.kernel import PlantError
from millstream.sdk import Log

STOP_TIMEOUT_S = 10.0  # for connectors to close, send and be answered; then they are cut off
DRAIN_TIMEOUT_S = 30.0  # for a batch that has begun; a store that is full may hold it longer
_WORKS = (State.UP, State.ENDED)


@dataclass(slots=True)
class _Running:
    entry: ConnectorEntry
    supervisor: Supervisor
    task: asyncio.Task[None] | None = None


class ConnectorSet:
    """`make` builds the supervisor of an entry; it does no I/O."""

    def __init__(self, make: Callable[[ConnectorEntry], Supervisor], log: Log) -> None:
        self._make = make
        self._log = log
        self._running: dict[str, _Running] = {}
        self._group: asyncio.TaskGroup | None = None

    def __iter__(self) -> Iterator[Supervisor]:
        return (running.supervisor for running in self._running.values())

    def __len__(self) -> int:
        return len(self._running)

    def owners(self) -> Mapping[str, Supervisor]:
        """Supervisors by the connector's name."""
        return {name: running.supervisor for name, running in self._running.items()}

    def prepare(self, entries: Sequence[ConnectorEntry]) -> list[Supervisor]:
        """Build what is missing, in the order of `entries`; started by `start`. The new ones are returned."""
        made = []
        found = {}
        for entry in entries:
            running = self._running.get(entry.name)
            if running is None:
                running = _Running(entry, self._make(entry))
                made.append(running.supervisor)
            found[entry.name] = running
        self._running = found
        return made

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run what does not run yet."""
        self._group = group
        for name, running in self._running.items():
            if running.task is None:
                running.task = group.create_task(running.supervisor.run(), name=name)

    def changed(self, entries: Sequence[ConnectorEntry]) -> list[str]:
        """Names of connectors that run and are not in `entries` as they are."""
        wanted = {entry.name: entry for entry in entries}
        return [name for name, running in self._running.items() if wanted.get(name) != running.entry]

    async def drain(self, names: Sequence[str]) -> None:
        """Stop these at a boundary of their batches, all that they gave stored, and forget them. Raises PlantError when
        one does not come to such a boundary in time; those that have stopped are forgotten all the same."""
        chosen = [self._running[name] for name in names]
        for running in chosen:
            running.supervisor.drain()
        tasks = [running.task for running in chosen if running.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_TIMEOUT_S)
        stopping = [running.task for running in chosen if running.task and running.supervisor.is_stopping]
        if stopping:
            _, late = await asyncio.wait(stopping, timeout=STOP_TIMEOUT_S)
            await self._cut_off(late)
        stuck = []
        for running in chosen:
            if running.task is not None and not running.task.done():
                running.supervisor.go_on()
                stuck.append(running.entry.name)
            else:
                del self._running[running.entry.name]
        if stuck:
            raise PlantError(
                "a connector does not come to the end of what it has begun", where=", ".join(stuck),
                expected=f"within {DRAIN_TIMEOUT_S:g}s", next_step="look whether the store is full", code="MS-2411",
            )  # fmt: skip

    def restart(self, name: str) -> None:
        """Begin one anew, also one that had stopped for good or whose source was at its end."""
        running = self._running[name]
        if running.task is not None and running.task.done() and self._group is not None:
            running.task = self._group.create_task(running.supervisor.run(), name=name)
        else:
            running.supervisor.restart()

    async def stop(self) -> None:
        """Stop all; who is late is cut off."""
        tasks = []
        for running in self._running.values():
            running.supervisor.stop()
            if running.task is not None:
                tasks.append(running.task)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
            await self._cut_off(late)

    async def _cut_off(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            self._log.warning("connector is cut off", connector=task.get_name(), after_s=STOP_TIMEOUT_S)
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def up(self) -> list[str]:
        """Names of connectors that work now."""
        return [name for name, running in self._running.items() if running.supervisor.lifecycle.state in _WORKS]

    def ailing(self, must_be_up: Sequence[str], known: Sequence[str]) -> str | None:
        """Why these are not well: one of `must_be_up` does not work, or one that is not in `known` has stopped for
        good. One whose device was away before may stay away."""
        for name, running in self._running.items():
            life = running.supervisor.lifecycle
            if name in must_be_up and life.state not in _WORKS:
                return f"connector {name} is {life.state.value}: {life.error or 'not open yet'}"
            if life.state is State.STOPPED and name not in known:
                return f"connector {name} has stopped: {life.error}"
        return None
