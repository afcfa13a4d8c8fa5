"""The checks. Each takes a case, starts its peer, and raises AssertionError with what did not hold."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from millstream.kernel import ProtocolViolation, Unreachable
from millstream.model import Sample
from millstream.sdk import (
    Acknowledged,
    Browsable,
    Connector,
    ConnectorConfig,
    Discoverable,
    DiscoveryInfo,
    Polled,
    Position,
    Session,
    SourceCounted,
    Streamed,
    Tag,
    Writable,
    Write,
)
from millstream.sdk.testing._case import ConformanceCase, NotApplicable, Peer
from millstream.sdk.testing._clock import JumpingClock
from millstream.sdk.testing._drive import (
    Stepped,
    batches_of,
    build,
    check_values,
    collect,
    collect_from,
    flatten,
    producing,
    run_once,
    spread,
    until_it_raises,
)
from millstream.sdk.testing._leaks import assert_nothing_left, held_resources
from millstream.sdk.testing._paper import check_config_round_trip, check_quality, check_readme, check_sample

OPENS_COUNT = 100
CANCEL_POINTS_MAX = 40  # the ends of an operation and an even spread between; each costs a whole session
RESUME_POINTS_MAX = 6
FLOOD_BYTES = 64 << 20


async def config_round_trip(case: ConformanceCase) -> None:
    """The configuration survives YAML, refuses unknown keys and describes each option."""
    async with case.peer() as peer:
        check_config_round_trip(case, dict(peer.config))


async def sample_is_fresh(case: ConformanceCase) -> None:
    """sample.yaml is valid and names every option."""
    check_sample(case)


async def readme_is_complete(case: ConformanceCase) -> None:
    """README.md has the headings that a user looks for."""
    check_readme(case.folder)


async def quality_is_honest(case: ConformanceCase) -> None:
    """quality.yaml claims what the kit shows."""
    check_quality(case)


async def capabilities(case: ConformanceCase) -> None:
    """The constructor does no I/O, tags pass offline, and the session offers data in one of the two ways."""
    assert issubclass(case.connector.Config, ConnectorConfig)
    async with case.peer() as peer:
        before = held_resources()
        connector = build(case, peer)
        assert not held_resources().is_more_than(before), "the constructor opens something"
        if isinstance(case.connector, Discoverable):
            assert inspect.iscoroutinefunction(case.connector.discover), "discover is no coroutine function"
            assert isinstance(case.connector.discovery, DiscoveryInfo), "discovery is no DiscoveryInfo"
        for tag in (*peer.tags, *([peer.bad_tag] if peer.bad_tag else [])):
            connector.check_tag(tag)
        async with connector.open() as session:
            assert isinstance(session, Polled | Streamed), f"{type(session).__name__} is neither Polled nor Streamed"
            _check_shapes(session)


def _check_shapes(session: Session) -> None:
    awaited: tuple[tuple[str, type[Any]], ...] = (("read", Polled), ("ack", Acknowledged), ("write", Writable))
    for name, capability in awaited:
        if isinstance(session, capability):
            assert inspect.iscoroutinefunction(getattr(session, name)), f"{name} is no coroutine function"
    generated: tuple[tuple[str, type[Any]], ...] = (("stream", Streamed), ("browse", Browsable))
    for name, capability in generated:
        if isinstance(session, capability):
            assert inspect.isasyncgenfunction(getattr(session, name)), f"{name} is no async generator function"
    if isinstance(session, SourceCounted):
        assert session.take_source_gaps() >= 0


async def open_close(case: ConformanceCase) -> None:
    """A hundred sessions leave no task, thread or file behind, used or not."""
    async with case.peer() as peer:
        connector = build(case, peer)
        await run_once(connector, peer, peer.tags, case.deadline_s)
        before = held_resources()
        for number in range(OPENS_COUNT):
            async with asyncio.timeout(case.deadline_s), connector.open() as session:
                if number % 10 == 0:
                    async with producing(peer):
                        await collect(session, peer.tags[:1], deadline_s=case.deadline_s)
        await assert_nothing_left(before, f"{OPENS_COUNT} sessions")


async def cancel_anywhere(case: ConformanceCase) -> None:
    """Cancelled at any await of open, read and close, a session ends as cancelled, soon, and leaves nothing."""
    async with case.peer() as peer, producing(peer):
        connector = build(case, peer)

        async def life() -> list[Sample]:
            """What is cancelled."""
            async with connector.open() as session:
                return await collect(session, peer.tags[:1], deadline_s=case.deadline_s)

        counted = Stepped(life())
        await counted
        before = held_resources()
        for point in spread(counted.suspensions_count, CANCEL_POINTS_MAX):
            await _cancel_at(life, point, case.deadline_s)
            await assert_nothing_left(before, f"cancelling at await {point} of {counted.suspensions_count}")
        assert await life()


async def _cancel_at(life: Callable[[], Any], point: int, deadline_s: float) -> None:
    stepped = Stepped[Any](life(), cancel_at=point)

    async def run() -> None:
        """A coroutine around it, as a task needs one."""
        await stepped

    task = asyncio.get_running_loop().create_task(run(), name=f"cancelled-at-{point}")
    done, _ = await asyncio.wait([task], timeout=deadline_s)
    assert done, f"cancelled at await {point}, still running after {deadline_s} s"
    if stepped.is_cancelled and not task.cancelled():
        raise AssertionError(f"cancelled at await {point}, but it ended with {task.exception()!r}")
    if not task.cancelled():
        task.result()


async def link_lost(case: ConformanceCase) -> None:
    """A lost link ends read, stream, write and open with Unreachable, and the next open works once it is back."""
    async with case.peer() as peer:
        connector = build(case, peer)
        async with connector.open() as session:
            await _lose(case, peer, session)
            await _write_on_dead_link(case, peer, session)
        error = await until_it_raises(lambda: _probe(connector), deadline_s=case.deadline_s, what="open without a link")
        assert isinstance(error, Unreachable), f"open without a link: expected Unreachable, got {error!r}"
        await peer.restore_link()
        await run_once(connector, peer, peer.tags, case.deadline_s)


async def _lose(case: ConformanceCase, peer: Peer, session: Session) -> None:
    async with aclosing(batches_of(session, peer.tags)) as batches:
        async with producing(peer):
            await collect_from(batches, peer.tags, deadline_s=case.deadline_s)
        await peer.break_link()
        error = await until_it_raises(
            lambda: anext(batches), deadline_s=2 * case.deadline_s, what="read or stream on a lost link"
        )
    assert not isinstance(error, StopAsyncIteration), "the stream ended without an error when the link was lost"
    assert isinstance(error, Unreachable), f"lost link: expected Unreachable, got {error!r}"


async def _write_on_dead_link(case: ConformanceCase, peer: Peer, session: Session) -> None:
    if not peer.writes or not isinstance(session, Writable):
        return
    try:
        async with asyncio.timeout(2 * case.deadline_s):
            results = await session.write(peer.writes)
    except Unreachable:
        return
    assert all(result.quality.is_bad for result in results), "a write on a lost link is reported as done"


async def _probe(connector: Connector) -> None:
    async with connector.open():
        pass


async def poison_frame(case: ConformanceCase) -> None:
    """A frame that breaks the protocol is kept or reported, and good values come after it."""
    async with case.peer() as peer:
        connector = build(case, peer)
        try:
            async with connector.open() as session, producing(peer):
                await _see_poison(case, peer, session)
        except ProtocolViolation:
            pass
        await run_once(connector, peer, peer.tags, case.deadline_s)


async def _see_poison(case: ConformanceCase, peer: Peer, session: Session) -> None:
    async with asyncio.timeout(case.deadline_s), aclosing(batches_of(session, peer.tags)) as batches:
        await collect_from(batches, peer.tags, deadline_s=case.deadline_s)
        await peer.poison()
        async for batch in batches:
            if batch.frames_bad or any(sample.quality.is_bad for sample in batch.samples):
                return
    raise AssertionError("the poisoned frame left no trace")


async def bad_tag(case: ConformanceCase) -> None:
    """A tag that the device does not have gives bad quality, read or written; its neighbours are good."""
    async with case.peer() as peer:
        if peer.bad_tag is None:
            raise NotApplicable("the source cannot know that a tag does not exist")
        tags: Sequence[Tag] = (peer.tags[0], peer.bad_tag, *peer.tags[1:])
        connector = build(case, peer)
        samples = await run_once(connector, peer, tags, case.deadline_s)
        async with asyncio.timeout(2 * case.deadline_s), connector.open() as session:
            await _write_nowhere(session, peer.bad_tag)
        for sample in samples:
            if sample.tag == peer.bad_tag.key:
                assert sample.quality.is_bad, f"a tag that does not exist has quality {sample.quality.label}"
                assert sample.value is None, "a tag that does not exist has a value"
        good = {sample.tag for sample in samples if sample.quality.is_good}
        hurt = {tag.key for tag in peer.tags} - good
        assert not hurt, f"good tags without a good sample beside a bad one: {sorted(hurt)}"


async def _write_nowhere(session: Session, bad_tag: Tag) -> None:
    if not isinstance(session, Writable):
        return
    results = await session.write([Write(bad_tag, None), Write(bad_tag, 1)])
    assert len(results) == 2, "one result a write"
    assert all(result.quality.is_bad for result in results), "a write to a tag that is not there is reported as done"


async def extremes(case: ConformanceCase) -> None:
    """Values at the edges of their types arrive as they are."""
    async with case.peer() as peer:
        if not peer.extremes:
            raise NotApplicable("this peer has no values at the edge of their types")
        samples = await run_once(build(case, peer), peer, [item.tag for item in peer.extremes], case.deadline_s)
        check_values(peer.extremes, samples)


async def clock_jump(case: ConformanceCase) -> None:
    """A wall clock set a day back, then two days on, stops no session."""
    async with case.peer() as peer:
        clock = JumpingClock()
        connector = build(case, peer, clock)
        async with producing(peer), connector.open() as session, aclosing(batches_of(session, peer.tags)) as batches:
            for span_s in (0.0, -86_400.0, 2 * 86_400.0):
                clock.jump(span_s)
                await collect_from(batches, peer.tags, deadline_s=case.deadline_s)


async def resume(case: ConformanceCase) -> None:
    """From each position on, exactly the rest comes: the same samples, with the same times."""
    async with case.peer() as peer:
        if not peer.samples_count:
            raise NotApplicable("this source cannot rewind")
        connector = build(case, peer)
        whole, cuts = await _run_whole(case, connector, peer)
        if peer.is_endless:
            whole = whole[: peer.samples_count]
            cuts = [cut for cut in cuts if cut[0] <= len(whole)]
        assert len(whole) == peer.samples_count, f"expected {peer.samples_count} samples, got {len(whole)}"
        assert cuts, "no batch carries a position"
        for index in spread(len(cuts), RESUME_POINTS_MAX):
            count, position = cuts[index - 1]
            rest = await _run_from(case, connector, peer, position, len(whole) - count)
            if peer.is_endless:
                rest = rest[: len(whole) - count]
            assert [repr(s) for s in rest] == [repr(s) for s in whole[count:]], (
                f"resumed after {count} of {len(whole)} samples, the rest differs: "
                f"{len(rest)} samples, first {rest[:1]}, expected {whole[count : count + 1]}"
            )


async def _run_whole(
    case: ConformanceCase, connector: Connector, peer: Peer
) -> tuple[list[Sample], list[tuple[int, Position]]]:
    found: list[Sample] = []
    cuts: list[tuple[int, Position]] = []
    async with (
        asyncio.timeout(case.deadline_s),
        connector.open() as session,
        aclosing(batches_of(session, peer.tags)) as batches,
    ):
        async for batch in batches:
            found.extend(flatten(batch))
            if batch.position is not None:
                cuts.append((len(found), batch.position))
            if len(found) >= peer.samples_count:
                break
    return found, cuts


async def _run_from(
    case: ConformanceCase, connector: Connector, peer: Peer, position: Position, count: int
) -> list[Sample]:
    found: list[Sample] = []
    if count == 0:
        return found
    async with (
        asyncio.timeout(case.deadline_s),
        connector.open() as session,
        aclosing(batches_of(session, peer.tags, position)) as batches,
    ):
        async for batch in batches:
            found.extend(flatten(batch))
            if len(found) >= count:
                break
    return found


async def back_pressure(case: ConformanceCase) -> None:
    """Nobody consumes: the session takes a bounded number of bytes from the device, then the device has to wait."""
    async with case.peer() as peer:
        connector = build(case, peer)
        async with connector.open() as session:
            if not isinstance(session, Streamed):
                raise NotApplicable("the runtime asks for each value, so nothing can pile up")
            async with aclosing(batches_of(session, peer.tags)) as batches:
                async with producing(peer), asyncio.timeout(case.deadline_s):
                    await anext(batches)
                taken = await peer.flood(FLOOD_BYTES)
                assert taken <= case.back_pressure_bytes_max, (
                    f"{taken} bytes were taken while nobody consumed, expected at most {case.back_pressure_bytes_max}"
                )


CHECKS: MappingProxyType[str, Callable[[ConformanceCase], Awaitable[None]]] = MappingProxyType(
    {
        check.__name__: check
        for check in (
            config_round_trip,
            sample_is_fresh,
            readme_is_complete,
            quality_is_honest,
            capabilities,
            open_close,
            cancel_anywhere,
            link_lost,
            poison_frame,
            bad_tag,
            extremes,
            clock_jump,
            resume,
            back_pressure,
        )
    }
)
