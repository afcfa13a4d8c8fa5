"""A node's service that is opened again when other things can be asked of the node."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Self, TypeAlias

Opening: TypeAlias = tuple[frozenset[str], AbstractAsyncContextManager[None]]


class ServiceScope:
    """`plan` gives the names of what can be asked now, and the service that answers, not open yet."""

    def __init__(self, plan: Callable[[], Opening]) -> None:
        self._plan = plan
        self._names: frozenset[str] = frozenset()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._names, service = self._plan()
        await self._stack.enter_async_context(service)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def refresh(self) -> None:
        """Open it again, unless the names are the same. Raises Unreachable."""
        names, service = self._plan()
        if names != self._names:
            await self._stack.aclose()
            await self._stack.enter_async_context(service)
            self._names = names
