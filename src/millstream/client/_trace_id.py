"""The first message of a trace by its id: no stream is indexed by headers, so what may hold it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from millstream.client._streams import StoredFrame, Streams
from millstream.kernel import NotFoundError
from millstream.protocols.cloudevents import format_time, parse_time_ns
from millstream.protocols.trace_context import TRACEPARENT, begun_ns

LOOKED_MESSAGES_MAX = 50_000  # of one stream: seconds, and tens of megabytes
SKEW_NS = 250_000_000  # that the clock which began the trace is ahead of the one that stored it


@dataclass(frozen=True, slots=True)
class Looked:
    """The newest `messages` of a stream of `stored` were looked through. Times are UTC, when they were stored."""

    stream: str
    messages: int
    stored: int
    from_ns: int | None
    to_ns: int | None

    def as_dict(self) -> dict[str, object]:
        """For output."""
        return {
            "stream": self.stream, "messages": self.messages, "stored": self.stored, "from_ns": self.from_ns,
            "to_ns": self.to_ns,
        }  # fmt: skip

    def __str__(self) -> str:
        span = f", from {_time(self.from_ns)} to {_time(self.to_ns)}" if self.messages else ""
        return f"the newest {self.messages:,} of {self.stored:,} of {self.stream}{span}"


def _time(time_ns: int | None) -> str:
    return format_time(time_ns) if time_ns is not None else "?"


class _Hunt:
    """What several streams are looked through for at once; none goes on behind the earliest that another has found."""

    def __init__(self, trace_id: str) -> None:
        self._trace_id = trace_id
        self.found: StoredFrame | None = None

    async def through(self, frames: AsyncGenerator[StoredFrame, None]) -> tuple[int | None, int | None]:
        """Until it is found, or there are no more; when the first and the last that was seen were stored."""
        first_ns: int | None = None
        last_ns: int | None = None
        seen = 0
        async with aclosing(frames):
            async for frame in frames:
                if seen >= LOOKED_MESSAGES_MAX or (self.found is not None and frame.time_ns > self.found.time_ns):
                    break
                seen += 1
                first_ns, last_ns = first_ns if first_ns is not None else frame.time_ns, frame.time_ns
                if self._trace_id in frame.headers.get(TRACEPARENT, ""):
                    self.found = frame
                    break
        return first_ns, last_ns


async def first_of_trace(streams: Streams, trace_id: str) -> tuple[StoredFrame, Sequence[Looked]]:
    """The first message of a trace, and where more may be than was looked through. An id that Millstream gave says from
    when on it is to be looked for; of any other the newest of each stream are. Raises NotFoundError."""
    names = await streams.of_data(with_local=True)
    states = [info["state"] for info in await asyncio.gather(*(streams.info(name) for name in names))]
    known = dict(zip(names, states, strict=True))
    hunt = _Hunt(trace_id)
    begun = begun_ns(trace_id) - SKEW_NS
    reach = [name for name, state in known.items() if begun <= _last_ns(state)]
    if any(begun + 2 * SKEW_NS >= _first_ns(known[name]) for name in reach):  # else the id of another system
        await asyncio.gather(*(hunt.through(streams.since(name, ">", begun)) for name in reach))
    if hunt.found is not None:
        return hunt.found, ()
    looked = await asyncio.gather(*(_newest(streams, hunt, name, state) for name, state in known.items()))
    short = [each for each in looked if each.messages < each.stored]
    if hunt.found is None:
        raise NotFoundError(
            "no message of this trace", got=trace_id, expected=f"one of {'; '.join(map(str, short or looked))}",
            next_step="name its path, or ask the node that stored it",
        )  # fmt: skip
    return hunt.found, short


async def _newest(streams: Streams, hunt: _Hunt, stream: str, state: Mapping[str, Any]) -> Looked:
    start_seq = max(1, int(state["last_seq"]) - LOOKED_MESSAGES_MAX + 1)
    first_ns, last_ns = await hunt.through(streams.onward(stream, start_seq))
    stored = int(state["messages"])
    of_them = min(stored, int(state["last_seq"]) - start_seq + 1) if first_ns is not None else 0
    return Looked(stream, of_them, stored, first_ns, max(last_ns, _last_ns(state)) if last_ns is not None else None)


def _first_ns(state: Mapping[str, Any]) -> int:
    return parse_time_ns(str(state["first_ts"])) if state["messages"] else 0


def _last_ns(state: Mapping[str, Any]) -> int:
    return parse_time_ns(str(state["last_ts"])) if state["messages"] else 0
