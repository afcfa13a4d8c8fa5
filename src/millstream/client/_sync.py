"""The plant for notebooks and scripts: the same calls without ``await``, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from concurrent.futures import CancelledError as FutureCancelled
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from millstream.client._commands import NodeCommand
from millstream.client._fleet import FleetResult
from millstream.client._ledger import Ledger
from millstream.client._node import NodeAddress
from millstream.client._paths import Where
from millstream.client._plant import Plant, connect
from millstream.client._reading import Reading
from millstream.client._times import Span, Time, to_span_ns
from millstream.client._trace import Trace
from millstream.client._tree import TagEntry, TreeNode
from millstream.kernel import Unreachable
from millstream.model import GOOD, Quality, Value
from millstream.protocols.cloudevents import CloudEvent
from millstream.protocols.write_request import WritableTag, WriteAnswer
from millstream.sdk import Stored, TlsFiles

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
JOIN_TIMEOUT_S = 10.0  # closing a link takes milliseconds; a hung one must not hold a notebook for ever


class _LoopThread:
    """An event loop in a daemon thread: a notebook that forgets to close does not hang at exit."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="millstream-plant", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end; an interrupt cancels it."""
        if not self._thread.is_alive():
            coroutine.close()
            raise Unreachable("the plant was closed", next_step="keep the `with` block open while you use it")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except FutureCancelled as error:
            raise Unreachable("the plant was closed") from error
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(JOIN_TIMEOUT_S)
        if not self._thread.is_alive():
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


class SyncPlant:
    """As `Plant`, each call returning its result. Made by `connect_sync`; one thread at a time."""

    def __init__(self, plant: Plant, thread: _LoopThread) -> None:
        self._plant = plant
        self._thread = thread

    @property
    def node(self) -> NodeAddress:
        """The node this plant is seen from."""
        return self._plant.node

    def live(self, *patterns: Where, kind: str = "tag", initial: bool = False) -> Generator[Reading, None, None]:
        """As `Plant.live`, a generator; close it or leave the loop to stop listening."""
        return self._iterate(lambda: self._plant.live(*patterns, kind=kind, initial=initial))

    def events(
        self,
        *patterns: Where,
        type: str | None = None,
        kind: str = "event",
        start: Time | None = None,
        end: Time = "now",
    ) -> Generator[CloudEvent, None, None]:
        """As `Plant.events`, a generator."""
        return self._iterate(lambda: self._plant.events(*patterns, type=type, kind=kind, start=start, end=end))

    def _iterate(self, start: Callable[[], AsyncGenerator[T, None]]) -> Generator[T, None, None]:
        items = start()
        try:
            while True:
                try:
                    item = self._thread.run(_next(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._thread.run(items.aclose())

    def get(self, path: Where, *, kind: str = "tag") -> Reading:
        """As `Plant.get`."""
        return self._thread.run(self._plant.get(path, kind=kind))

    def last(self, *patterns: Where, kind: str = "tag") -> list[Reading]:
        """As `Plant.last`."""
        return self._thread.run(self._plant.last(*patterns, kind=kind))

    def tags(self, *patterns: Where, kind: str | None = None) -> list[TagEntry]:
        """As `Plant.tags`."""
        return self._thread.run(self._plant.tags(*patterns, kind=kind))

    def tree(self, *patterns: Where, kind: str | None = None) -> TreeNode:
        """As `Plant.tree`."""
        return self._thread.run(self._plant.tree(*patterns, kind=kind))

    def history(
        self,
        paths: Where | Sequence[Where],
        start: Time,
        end: Time = "now",
        *,
        every: Span | None = None,
        aggregate: str | Sequence[str] | None = None,
        limit: int | None = None,
        quality: str | None = None,
        kind: str = "tag",
    ) -> pa.Table:
        """As `Plant.history`."""
        asked = self._plant.history(
            paths, start, end, every=every, aggregate=aggregate, limit=limit, quality=quality, kind=kind
        )
        return self._thread.run(asked)

    def event_history(
        self,
        paths: Where | Sequence[Where],
        start: Time,
        end: Time = "now",
        *,
        type: str | None = None,
        kind: str = "event",
        limit: int | None = None,
    ) -> pa.Table:
        """As `Plant.event_history`."""
        return self._thread.run(self._plant.event_history(paths, start, end, type=type, kind=kind, limit=limit))

    def asof(
        self,
        paths: Where | Sequence[Where],
        at: Time | Sequence[Time],
        *,
        max_age: Span | None = None,
        quality: str | None = None,
        kind: str = "tag",
    ) -> pa.Table:
        """As `Plant.asof`."""
        return self._thread.run(self._plant.asof(paths, at, max_age=max_age, quality=quality, kind=kind))

    def publish(
        self,
        path: Where,
        value: Value | None,
        *,
        unit: str | None = None,
        time: Time | None = None,
        quality: Quality = GOOD,
        kind: str = "tag",
        is_correction: bool = False,
    ) -> Stored:
        """As `Plant.publish`."""
        work = self._plant.publish(
            path, value, unit=unit, time=time, quality=quality, kind=kind, is_correction=is_correction
        )
        return self._thread.run(work)

    def event(
        self,
        path: Where,
        type: str,
        data: Any = None,
        *,
        id: str | None = None,
        source: str | None = None,
        time: Time | None = None,
        subject: str | None = None,
    ) -> Stored:
        """As `Plant.event`."""
        return self._thread.run(self._plant.event(path, type, data, id=id, source=source, time=time, subject=subject))

    def writable(self) -> Mapping[str, Sequence[WritableTag]]:
        """As `Plant.writable`."""
        return self._thread.run(self._plant.writable())

    def write(
        self, path: Where, value: Value | None, *, valid: Span = 10.0, id: str | None = None, who: str | None = None
    ) -> WriteAnswer:
        """As `Plant.write`."""
        return self._thread.run(self._plant.write(path, value, valid=valid, id=id, who=who))

    def fleet_query(
        self, filter: str | None = None, *, select: Sequence[str] = (), nodes: Sequence[str] | None = None,
        deadline: Span = 2.0,
    ) -> FleetResult:  # fmt: skip
        """As `Plant.fleet.query`, all of it."""
        return self._thread.run(self._plant.fleet.query(filter, select=select, nodes=nodes, deadline=deadline).all())

    def fleet_data(self, *patterns: Where, last: Span = "1min", kind: str = "tag") -> pa.Table:
        """As `Plant.fleet.data`, all of it."""
        return self._thread.run(self._plant.fleet.data(*patterns, last=last, kind=kind).table())

    def send_command(
        self, type: str, args: Mapping[str, Any] | None = None, *, nodes: Sequence[str] | None = None,
        where: str | None = None, expires: Span = "1h", key: str | None = None, wait: Span = "1min",
    ) -> Sequence[NodeCommand]:  # fmt: skip
        """As `Plant.commands.send`, and `wait` until it is over everywhere."""

        async def work() -> Sequence[NodeCommand]:
            commands = self._plant.commands
            id = await commands.send(type, args, nodes=nodes, where=where, expires=expires, key=key)
            return await commands.wait(id, timeout_s=to_span_ns(wait) / 1e9)

        return self._thread.run(work())

    def ledger(self, *, recounted: bool = False) -> Ledger:
        """As `Plant.ledger`."""
        return self._thread.run(self._plant.ledger(recounted=recounted))

    def trace(self, what: str, *, kind: str = "tag", within: Span = 60.0) -> Trace:
        """As `Plant.trace`."""
        return self._thread.run(self._plant.trace(what, kind=kind, within=within))

    def status(self) -> list[dict[str, Any]]:
        """As `Plant.status`."""
        return [dict(node) for node in self._thread.run(self._plant.status())]


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)


@contextmanager
def connect_sync(
    node: str | os.PathLike[str] | None = None,
    *,
    url: str | None = None,
    user: str | None = None,
    password: str | None = None,
    creds_file: Path | None = None,
    tenant: str | None = None,
    tls: TlsFiles | None = None,
    timeout_s: float = 5.0,
) -> Generator[SyncPlant, None, None]:
    """As `connect`, without ``async``: ``with millstream.connect_sync() as plant:``."""
    thread = _LoopThread()
    stack = AsyncExitStack()
    try:
        opening = connect(
            node, url=url, user=user, password=password, creds_file=creds_file, tenant=tenant, tls=tls,
            timeout_s=timeout_s,
        )  # fmt: skip
        plant = thread.run(stack.enter_async_context(opening))
        try:
            yield SyncPlant(plant, thread)
        finally:
            thread.run(stack.aclose())
    finally:
        thread.close()
