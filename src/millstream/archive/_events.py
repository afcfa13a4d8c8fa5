"""What was done to a history, as events at one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from millstream.bus import RawConnection, decode_answer
from millstream.kernel import Clock, NotFoundError
from millstream.model import AssetPath
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.ledger import WRITER_HEADER
from millstream.protocols.uns_subject import UnsAddress, encode_subject

EVENT_TYPE = "millstream.history"


class HistoryEvents:
    """`place` gives where the events stand, such as the enterprise; None: nowhere yet, and nothing is done without its
    event."""

    def __init__(
        self, connection: RawConnection, place: Callable[[], str | None], *, writer: str, clock: Clock
    ) -> None:  # fmt: skip
        self._connection = connection
        self._place = place
        self._writer = writer
        self._clock = clock

    @property
    def has_place(self) -> bool:
        """Whether there is a place for them."""
        return self._place() is not None

    async def tell(self, id: str, what: str, data: Mapping[str, Any], time_ns: int | None = None) -> None:
        """Store one event; the same id again is the same event. Raises NotFoundError without a place, Unreachable, and
        what the stream answers."""
        kind = f"{EVENT_TYPE}.{what}"
        path = self._place()
        if path is None:
            raise NotFoundError(
                "no place for the event that says who", next_step="give the hub an edge", code="MS-0433"
            )
        place = AssetPath.parse(path)
        event = CloudEvent(id, f"/{self._writer}", kind, dict(data), time_ns or self._clock.now_ns())
        headers, payload = encode_event(event)
        headers |= {WRITER_HEADER: self._writer, "Nats-Msg-Id": f"{place}/{id}"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        subject = encode_subject(UnsAddress(place, "_event", tuple(kind.split("."))))
        answer = await self._connection.request(subject, payload, header_lines=lines.encode())
        decode_answer(answer[4], where=subject)
