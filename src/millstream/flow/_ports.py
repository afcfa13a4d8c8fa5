"""What the runtime needs of its surroundings, besides the data plane's Reader and Publisher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from millstream.sdk import Received


class StreamFacts(NamedTuple):
    """A stream as it is now. `created` tells a stream that was made anew from the one that was read before; `fill` is
    the share of its bound that is taken."""

    created: str
    first_seq: int
    last_seq: int
    fill: float = 0.0


class Streams(Protocol):
    """Looks at streams."""

    async def facts(self, stream: str) -> StreamFacts:
        """Raises NotFoundError, Unreachable."""
        ...


class Origins(Protocol):
    """How a stream is read that is filled from other streams, and may lose its newest messages and take them again."""

    def resets(self) -> int:
        """Changes whenever that may have happened: what comes then has to be read from a known place on."""
        ...

    async def stored_us(self, stream: str, seq: int) -> int | None:
        """When the message was stored, UTC microseconds; 0 when it is older than the stream's first, None when there is
        none. Raises Unreachable."""
        ...


class Rejected(NamedTuple):
    """An input that a flow could not take: `sample` of the message, what was wrong, where. With a `contract` it is an
    output that breaks it, `sample` its number among those of its input. `id` is the same whenever it is made again,
    `flow` says whose it is."""

    stream: str
    received: Received
    sample: int
    code: str
    reason: str
    detail: str
    id: str = ""
    flow: str = ""
    contract: str = ""


class Quarantine(Protocol):
    """Keeps what is rejected where people see it."""

    async def put(self, flow: str, rejected: Sequence[Rejected]) -> int:
        """Store all of it once; returns when it is stored, with the position behind it. Raises Unreachable."""
        ...

    async def position(self) -> int:
        """Behind the newest there is. Raises Unreachable."""
        ...

    async def kept_since(self, position: int) -> Mapping[str, str]:
        """What this flow has there behind a position: id -> contract. Raises Unreachable."""
        ...
