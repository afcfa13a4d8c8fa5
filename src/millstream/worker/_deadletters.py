"""What a flow could not take, kept in the node's dead-letter stream with the step's traceback."""

from __future__ import annotations

from millstream.bus import RawConnection, decode_answer
from millstream.flow import Rejected
from millstream.kernel import Backoff, Clock, Unreachable
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_subject import escape_token

REASON_CHARS_MAX = 512
DETAIL_CHARS_MAX = 8000
HEADERS_BYTES_MAX = 16_384  # of max_payload; what a message of full size leaves is cut from its payload


class FlowDeadLetters:
    """`Quarantine` on a dead-letter stream. A letter that is written again after a crash has the same id, so that the
    server drops it within the stream's window."""

    def __init__(self, connection: RawConnection, node: str, flow: str, version: int, clock: Clock) -> None:
        self._connection = connection
        self._subject = f"dlq.{node}.flow.{escape_token(flow)}"
        self._mark = f"{flow}/{version}"
        self._clock = clock
        self.written_count = 0

    async def put(self, flow: str, rejected: Rejected) -> None:
        """Return when it is stored; waits for the stream as long as it takes. Raises what refuses it for good."""
        received = rejected.received
        place = f"{rejected.stream}:{received.seq}"
        content_type = parse_headers(received.headers).values.get("Content-Type") if received.headers else None
        fields = {
            "Ms-Reason": _line(rejected.reason, REASON_CHARS_MAX),
            "Ms-Code": rejected.code,
            "Ms-Source": f"flow {flow}",
            "Ms-Time": str(self._clock.now_ns()),
            "Ms-Subject": received.subject if received.payload else None,
            "Ms-Flow": self._mark,
            "Ms-Flow-In": f"{place}:{rejected.sample}",
            "Ms-Detail": _line(rejected.detail[-DETAIL_CHARS_MAX:].replace("\n", "\\n"), DETAIL_CHARS_MAX) or None,
            "Content-Type": content_type,
            "Nats-Msg-Id": f"{self._mark}/{place}:{rejected.sample}:{received.subject if not received.payload else ''}",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None).encode()
        payload = received.payload[: max(0, self._connection.max_payload - HEADERS_BYTES_MAX)]
        backoff = Backoff(floor_s=0.1, ceiling_s=10.0)
        while True:
            try:
                answer = await self._connection.request(self._subject, payload, header_lines=lines)
                decode_answer(answer[4], where=self._subject)
            except Unreachable:
                await self._clock.sleep(backoff.next_s())
            else:
                self.written_count += 1
                return


def _line(text: str, chars_max: int) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text[:chars_max])
    return clean.encode("utf-8", "replace").decode("utf-8").strip()
