"""What comes over a serial line: the answer among the noise, and when the line has come to rest. Pure: times are given.

RTU has no transaction number, so an answer that comes too late looks like the answer to the next request. After
anything odd nothing is sent until the line has been silent for a while.
"""

from __future__ import annotations

from millstream.protocols.modbus_rtu import Finding, State, find_answer

SETTLE_S = 0.1  # longer than any pause inside a frame that a gateway or a USB adapter makes
DAMAGED_IN_A_ROW_MAX = 10  # then it is no noise any more, but a wrong baud rate or a broken cable


class Line:
    """Judges what is received, and counts what is damaged."""

    def __init__(self) -> None:
        self._damaged_in_a_row = 0
        self._request = b""
        self._received = b""
        self._heard_ns: int | None = None
        self._is_in_doubt = True  # nobody knows what was going on before the line was opened

    def sent(self, request: bytes) -> None:
        """A request goes out; what came before it does not count."""
        self._request = request
        self._received = b""

    def received(self, data: bytes, now_ns: int) -> Finding:
        """All bytes since the request, in which the answer may be."""
        self._heard_ns = now_ns
        self._received = data
        return find_answer(data, self._request) if self._request else Finding(State.WAITING)

    def answered(self) -> None:
        """A good answer came."""
        self._request = b""
        self._damaged_in_a_row = 0

    def gave_up(self, now_ns: int) -> bytes:
        """No answer came, or a damaged one. Returns what came instead."""
        self._request = b""
        self._heard_ns = now_ns
        self._is_in_doubt = True
        return self._received

    def damaged(self) -> bool:
        """A damaged answer is counted. True when there were too many in a row."""
        self._damaged_in_a_row += 1
        return self._damaged_in_a_row >= DAMAGED_IN_A_ROW_MAX

    def rest_s(self, now_ns: int) -> float:
        """How long to wait yet until the line counts as silent; 0 when it does."""
        if not self._is_in_doubt:
            return 0.0
        if self._heard_ns is None:  # just opened
            self._heard_ns = now_ns
        rest = SETTLE_S - (now_ns - self._heard_ns) / 1e9
        if rest > 0:
            return rest
        self._is_in_doubt = False
        return 0.0
