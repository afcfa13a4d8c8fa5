"""What sessions that write have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from millstream.kernel import PlantError
from millstream.model import BAD_NO_COMMUNICATION, Value
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


def given_value(write: Write) -> Value:
    """The value, for protocols that have no null. Raises TypeError for one."""
    if write.value is None:
        raise TypeError("expected a value: there is no null here")
    return write.value
