"""Events and alarms as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from millstream.historian._columns import TIME_MAX_NS, TIME_MIN_NS
from millstream.kernel import DecodeError
from millstream.protocols.cloudevents import decode_event
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_payload import encode_value
from millstream.sdk import Received

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class EventRow:
    """One CloudEvent under the path of `tag_id`, time UTC ns. `data` and `extensions` are JSON text."""

    tag_id: int
    time_ns: int
    id: str
    source: str
    type: str
    subject: str | None
    content_type: str
    data: str | None
    extensions: str | None


def event_row(message: Received, tag_id: int) -> EventRow:
    """The event in a message; one without a time happened when it was stored. Raises DecodeError."""
    event = decode_event(parse_headers(message.headers).values, message.payload)
    time_ns = event.time_ns if event.time_ns is not None else message.stored_time_ns
    if not TIME_MIN_NS <= time_ns < TIME_MAX_NS:
        raise DecodeError(
            "event time cannot be kept", expected="years 1678 to 2261", got=f"{time_ns} ns", code="MS-0321"
        )
    return EventRow(
        tag_id,
        time_ns,
        event.id,
        event.source,
        event.type,
        event.subject,
        event.content_type,
        None if event.data is None else encode_value(event.data).decode(),
        msgspec.json.encode(dict(event.extensions)).decode() if event.extensions else None,
    )


def events_arrow(rows: Sequence[EventRow], first_order: int) -> pa.Table:
    """As the table that the store inserts, in its order of columns."""
    import pyarrow as pa

    return pa.table(
        {
            "tag_id": pa.array([r.tag_id for r in rows], pa.uint32()),
            "ts": pa.array([r.time_ns for r in rows], pa.timestamp("ns")),
            "n": pa.array(range(first_order, first_order + len(rows)), pa.int64()),
            "id": pa.array([r.id for r in rows], pa.string()),
            "source": pa.array([r.source for r in rows], pa.string()),
            "type": pa.array([r.type for r in rows], pa.string()),
            "subject": pa.array([r.subject for r in rows], pa.string()),
            "content_type": pa.array([r.content_type for r in rows], pa.string()),
            "data": pa.array([r.data for r in rows], pa.string()),
            "extensions": pa.array([r.extensions for r in rows], pa.string()),
        }
    )
