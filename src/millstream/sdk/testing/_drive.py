"""Drives a session as the runtime would, for the checks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from typing import Any, Generic, TypeVar

from millstream.kernel import Clock, SystemClock
from millstream.model import GOOD, Quality, Sample
from millstream.sdk import Acknowledged, Batch, Connector, ConnectorTools, Polled, Position, Session, Streamed, Tag
from millstream.sdk.testing._case import ConformanceCase, ExpectedValue, Peer

T = TypeVar("T")
POLL_S = 0.05  # how often the peer is asked to produce, and a polled session to read


def build(
    case: ConformanceCase, peer: Peer, clock: Clock | None = None, config: Mapping[str, Any] | None = None
) -> Connector:
    """The connector of a case, configured for its running peer, or by another `config` than the peer's own."""
    made = case.connector.Config.model_validate(
        dict(peer.config if config is None else config), context={"folder": case.folder}
    )
    return case.connector(made, ConnectorTools(name="conformance", clock=clock or SystemClock()))


def flatten(batch: Batch) -> list[Sample]:
    """All samples of a batch, those in blocks too, as plain samples."""
    found = list(batch.samples)
    for block in batch.blocks:
        for i in range(len(block)):
            value: Any = block.values[i]
            plain = value.item() if hasattr(value, "item") else value  # NumPy's scalar as Python's
            quality = GOOD if block.quality is None else Quality(int(block.quality[i]))
            found.append(Sample(block.tag, plain, quality, int(block.source_time_ns[i])))
    return found


@asynccontextmanager
async def producing(peer: Peer) -> AsyncIterator[None]:
    """Keep the peer reporting while the body runs."""

    async def forever() -> None:
        """Until cancelled."""
        while True:
            await peer.produce()
            await asyncio.sleep(POLL_S)

    task = asyncio.get_running_loop().create_task(forever(), name="conformance-producer")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def batches_of(
    session: Session, tags: Sequence[Tag], resume: Position | None = None
) -> AsyncGenerator[Batch, None]:
    """The session's batches, whether it is polled or streamed; ends when the source does.

    Who asks for the next batch has stored the one before, which is acknowledged: a source that gets no acknowledgement
    stops at its limit (20 messages at Mosquitto).
    """
    if isinstance(session, Streamed):
        async with aclosing(session.stream(tags, resume)) as stream:
            async for batch in stream:
                yield batch
                if batch.position is not None and isinstance(session, Acknowledged):
                    await session.ack(batch.position)
        return
    assert isinstance(session, Polled)
    while True:
        yield Batch(await session.read(tags))
        await asyncio.sleep(POLL_S)


async def collect(session: Session, tags: Sequence[Tag], *, deadline_s: float) -> list[Sample]:
    """Samples until each of `tags` has at least one. AssertionError names those that have none in time."""
    async with aclosing(batches_of(session, tags)) as batches:
        return await collect_from(batches, tags, deadline_s=deadline_s)


async def collect_from(batches: AsyncGenerator[Batch, None], tags: Sequence[Tag], *, deadline_s: float) -> list[Sample]:
    """As `collect`, from a stream that is open already and stays open: a session is streamed once."""
    missing = {tag.key for tag in tags}
    found: list[Sample] = []
    try:
        async with asyncio.timeout(deadline_s):
            async for batch in batches:
                found.extend(flatten(batch))
                missing -= {sample.tag for sample in found}
                if not missing:
                    return found
    except TimeoutError:
        pass
    raise AssertionError(f"no sample within {deadline_s} s of: {', '.join(sorted(missing))}")


async def run_once(connector: Connector, peer: Peer, tags: Sequence[Tag], deadline_s: float) -> list[Sample]:
    """Open, collect, close: the whole life of a session."""
    async with producing(peer), connector.open() as session:
        return await collect(session, tags, deadline_s=deadline_s)


def check_values(expected: Sequence[ExpectedValue], samples: Sequence[Sample]) -> None:
    """AssertionError when a tag never has the value that is expected of it."""
    wrong = []
    for item in expected:
        seen = [sample for sample in samples if sample.tag == item.tag.key]
        if not any(_same(sample.value, item.value) for sample in seen):
            wrong.append(f"{item.tag.address}: expected {item.value!r:.80}, got {seen[:3]!r:.200}")
    assert not wrong, "; ".join(wrong)


def _same(got: object, expected: object) -> bool:
    if isinstance(got, float) and isinstance(expected, float) and math.isnan(expected):
        return math.isnan(got)
    if isinstance(got, list) and isinstance(expected, list):
        return len(got) == len(expected) and all(_same(a, b) for a, b in zip(got, expected, strict=True))
    return type(got) is type(expected) and got == expected


async def until_it_raises(action: Callable[[], Awaitable[object]], *, deadline_s: float, what: str) -> BaseException:
    """Repeat `action` until it raises; AssertionError when it does not in time."""
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                await action()
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"{what}: no error within {deadline_s} s") from None
    except Exception as error:  # noqa: BLE001  the error is the result; the check judges it
        return error


class Stepped(Generic[T]):
    """Awaits a coroutine, counts its suspensions, and cancels its own task at one of them."""

    def __init__(self, inner: Coroutine[Any, Any, T], *, cancel_at: int | None = None) -> None:
        self._inner = inner
        self._cancel_at = cancel_at
        self.suspensions_count = 0
        self.is_cancelled = False

    def __await__(self) -> Generator[Any, Any, T]:
        stepper = self._inner.__await__()
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        error: BaseException | None = None
        while True:
            try:
                future = stepper.send(None) if error is None else stepper.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            error = None
            self.suspensions_count += 1
            if self.suspensions_count == self._cancel_at:
                loop.call_soon(self._cancel, task)
            try:
                yield future
            except BaseException as thrown:  # noqa: BLE001  passed on to the coroutine, which decides
                error = thrown

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            self.is_cancelled = True
            task.cancel()


def spread(count: int, at_most: int) -> Iterable[int]:
    """Up to `at_most` numbers of 1..count, evenly, the ends included."""
    if count <= at_most:
        return range(1, count + 1)
    return sorted({1 + round(i * (count - 1) / (at_most - 1)) for i in range(at_most)})
