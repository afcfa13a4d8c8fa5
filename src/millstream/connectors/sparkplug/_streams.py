"""Several of the node's streams, read at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from millstream.sdk import Position, Reader, Received

READ_MESSAGES = 500


async def read_all(
    reader: Reader, starts: Mapping[str, int], wait_s: float
) -> AsyncGenerator[tuple[str, Sequence[Received]], None]:
    """Lists of each stream in its order, with its name; empty ones after `wait_s` without data. For ever.

    Raises NotFoundError when a stream does not exist.
    """
    lists = {
        name: reader.read(name, start_seq=first, batch_max=READ_MESSAGES, wait_s=wait_s)
        for name, first in starts.items()
    }
    pending = {asyncio.ensure_future(anext(each)): name for name, each in lists.items()}
    try:
        while True:
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                name = pending[task]
                yield name, task.result()
                del pending[task]
                pending[asyncio.ensure_future(anext(lists[name]))] = name
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for each in lists.values():
            await each.aclose()


def decode_position(position: Position | None) -> dict[str, int]:
    """Stream -> the last sequence that was taken; nothing when it is not one of ours."""
    words = (position or b"").decode("utf-8", "replace").split(" ")
    pairs = zip(words[1::2], words[::2], strict=False)
    return {name: int(seq) for name, seq in pairs if name and seq.isdigit()}


def encode_position(taken: Mapping[str, int]) -> Position:
    """As the runtime keeps it."""
    return Position(" ".join(f"{seq} {name}" for name, seq in taken.items()).encode())
