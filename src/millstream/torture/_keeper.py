"""Keeps the nodes alive as an init system would: what was killed is started again at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from millstream.kernel import PlantError
from millstream.rig import Child
from millstream.torture._processes import server_of, strike, workers_of

RESTART_S = 0.3
START_TIMEOUT_S = 90.0


class Keeper:
    """Both nodes. `run` starts again what ends; `strike` picks processes by the plan's names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_ending = False
        self.children: dict[str, Child] = {}
        self.restarts = 0
        self.failures: list[str] = []

    def node(self, role: str) -> Mapping[str, Any]:
        """Its ``node.json`` as it was when it was first up; ports and passwords stay."""
        return self._nodes[role]

    async def start(self, roles: tuple[str, ...]) -> None:
        """Start the nodes one after the other and wait until each is up."""
        self._nodes: dict[str, Mapping[str, Any]] = {}
        for role in roles:
            await self._start(role)
            self._nodes[role] = await self.children[role].wait_file(self._folder / role / "node.json")

    async def _start(self, role: str) -> None:
        arguments = ["millstream", role, "-c", str(self._folder / f"{role}.yaml")]
        self.children[role] = await Child.start(role, arguments, self._folder)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for role in list(self.children):
                group.create_task(self._keep(role))

    async def _keep(self, role: str) -> None:
        while True:
            status = await self.children[role].process.wait()
            if self._is_ending:
                return
            if status != -signal.SIGKILL:
                self.failures.append(f"{role} ended by itself with status {status}")
            await self.children[role].stop()  # closes the pipe
            await asyncio.sleep(RESTART_S)
            await self._start(role)
            self.restarts += 1

    def find(self, target: str) -> list[psutil.Process]:
        """The processes that a name of the plan means now; none while they are away."""
        role, _, part = target.partition("-")
        child = self.children[role]
        if part == "worker":
            return workers_of(child)
        if part == "server":
            found = server_of(child)
            return [found] if found is not None else []
        with suppress(psutil.Error):
            return [psutil.Process(child.process.pid)]
        return []

    def strike(self, target: str, number: signal.Signals) -> list[psutil.Process]:
        """A signal to all that the name means; who got it."""
        found = self.find(target)
        for process in found:
            strike(process, number)
        return found

    async def stop(self) -> None:
        """End both in order, the edge first."""
        self._is_ending = True
        for child in reversed(list(self.children.values())):
            with suppress(PlantError):
                await child.stop()
