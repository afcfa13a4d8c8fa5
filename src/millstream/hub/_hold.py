"""While edges catch up, storing what they hold goes before writing history: the historian waits, for a bounded time.

Both need the same processors. What the hub's streams have is safe and in order; the historian reads it from there
whenever it likes, much faster than it came.
"""

from __future__ import annotations

from collections.abc import Callable

from millstream.kernel import Clock

HOLD_MESSAGES = 30_000  # less is there in half a second
LET_GO_MESSAGES = 5_000
HOLD_NS_MAX = 15_000_000_000
PAUSE_NS = 15_000_000_000  # after the longest hold the historian works for so long, whatever waits


class CatchUpHold:
    """Whether the historian waits now. `behind`: how many messages of connected edges the hub has not stored."""

    def __init__(self, behind: Callable[[], int], clock: Clock) -> None:
        self._behind = behind
        self._clock = clock
        self._since_ns: int | None = None
        self._free_until_ns = 0

    def is_held(self) -> bool:
        """True from `HOLD_MESSAGES` on until `LET_GO_MESSAGES`, at most `HOLD_NS_MAX` at a time."""
        now_ns, behind = self._clock.monotonic_ns(), self._behind()
        if self._since_ns is None:
            if behind < HOLD_MESSAGES or now_ns < self._free_until_ns:
                return False
            self._since_ns = now_ns
        elif behind <= LET_GO_MESSAGES:
            self._since_ns = None
        elif now_ns - self._since_ns >= HOLD_NS_MAX:
            self._since_ns, self._free_until_ns = None, now_ns + PAUSE_NS
        return self._since_ns is not None
