"""What was made for each order, as the flow `order_made` told it last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millstream.client._paths import Where, to_address, to_patterns
from millstream.client._streams import StoredFrame, Streams, newest
from millstream.kernel import DecodeError
from millstream.protocols.cloudevents import decode_event
from millstream.protocols.uns_subject import decode_subject
from millstream.shop import ORDER_MADE_TYPE


@dataclass(frozen=True, slots=True)
class OrderTotal:
    """The total of one order at one machine: parts, up to when (RFC 3339), and its revision, which only grows; seconds
    that the machine produced and was set up for it."""

    asset: str
    order: str
    produced: float
    good: float
    rejected: float
    until: str
    revision: int
    production_s: float = 0.0
    setup_s: float = 0.0


async def orders_made(streams: Streams, patterns: Sequence[Where]) -> list[OrderTotal]:
    """The newest total of each path that fits, by path."""
    checked = to_patterns(patterns)
    frames: list[StoredFrame] = []
    for stream in await streams.of_data(with_local=True):
        found = {s for p in checked for s in await streams.subjects(stream, p.subject_filter("_event"))}
        fitting = [s for s in sorted(found) if (a := to_address(s)) is not None and any(p.matches(a) for p in checked)]
        frames += await streams.last(stream, fitting)
    totals = [total for frame in newest(frames).values() if (total := _total(frame)) is not None]
    return sorted(totals, key=lambda total: (total.asset, total.order))


def _total(frame: StoredFrame) -> OrderTotal | None:
    try:
        event = decode_event(frame.headers, frame.payload)
        if event.type != ORDER_MADE_TYPE:
            return None
        data: Any = event.data
        return OrderTotal(
            str(decode_subject(frame.subject).tag.asset), str(data["order"]), float(data["produced"]),
            float(data["good"]), float(data["rejected"]), str(data["until"]), int(data["revision"]),
            float(data.get("production_s", 0.0)), float(data.get("setup_s", 0.0)),
        )  # fmt: skip
    except (DecodeError, KeyError, TypeError, ValueError):
        return None  # another program's event under this name
