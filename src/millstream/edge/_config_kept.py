"""The state of an edge's configuration while it runs: kept before a step begins, and waited for by who needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from millstream.edge._config_state import Event, SiteState, advance, told
from millstream.edge._config_store import ConfigShelf
from millstream.kernel import Clock


class KeptState:
    """`state` is always the newest; `shelf` may be one step behind, where that step changes nothing for a restart."""

    def __init__(self, shelf: ConfigShelf, clock: Clock) -> None:
        self.shelf = shelf
        self.state = SiteState()
        self._clock = clock
        self._is_ahead = False  # of what the shelf has
        self._moved = asyncio.Event()  # set with each change of the state, and replaced
        self._lock = asyncio.Lock()

    def begin(self, state: SiteState) -> None:
        """With what the shelf has, or with nothing."""
        self._is_ahead = False
        self._become(state)

    async def advance(self, event: Event) -> None:
        """One step, kept first. Raises PlantError."""
        await self.update(lambda state: advance(state, event, self._clock.now_ns()))

    async def update(self, change: Callable[[SiteState], SiteState]) -> None:
        """Kept first, on the disk or by a majority of the boxes. One at a time: reports are crossed off beside. Raises
        PlantError."""
        async with self._lock:
            state = change(self.state)
            if state != self.state or self._is_ahead:
                await self.shelf.save(state)
                self._is_ahead = False
                self._become(state)

    async def note(self, event: Event) -> None:
        """One step that is kept with the next one, or by `keep`: a node that is killed in between does at its start
        what it would do with it."""
        async with self._lock:
            self._is_ahead = True
            self._become(advance(self.state, event, self._clock.now_ns()))

    async def keep(self) -> None:
        """What was only noted. Raises PlantError."""
        if self._is_ahead:
            await self.update(lambda state: state)

    async def cross_off(self, number: int) -> None:
        """The reports up to `number` are stored. The stream says so, where the next start reads it: the shelf learns it
        with the next step."""
        async with self._lock:
            self._become(told(self.state, number))

    async def until(self, is_so: Callable[[SiteState], bool]) -> None:
        """Wait for a state."""
        while not is_so(self.state):
            await self._moved.wait()

    def _become(self, state: SiteState) -> None:
        self.state = state
        self._moved.set()
        self._moved = asyncio.Event()
