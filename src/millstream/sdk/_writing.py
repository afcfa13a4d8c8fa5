"""Writing for sessions that have one request for one value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from millstream.kernel import PlantError
from millstream.model import BAD_NO_COMMUNICATION
from millstream.sdk._contract import Write, WriteResult


async def write_in_turn(
    writes: Sequence[Write], write_one: Callable[[Write], Awaitable[WriteResult]]
) -> Sequence[WriteResult]:
    """One after the other, as `Writable.write` wants it: a lost link fails the one it hits and all that follow."""
    results: list[WriteResult] = []
    lost: PlantError | None = None
    for write in writes:
        if lost is None:
            try:
                results.append(await write_one(write))
                continue
            except PlantError as error:
                lost = error
        results.append(WriteResult(BAD_NO_COMMUNICATION, str(lost)))
    return results
