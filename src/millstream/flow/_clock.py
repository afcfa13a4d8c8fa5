"""What of a clock that runs ahead is believed: nothing comes from the future, so it is wrong by so much.

Pure. Behind is not judged: what is old may as well have waited for a link.
"""

from __future__ import annotations

from typing import Final

MINUTE_NS = 60 * 10**9
AHEAD: Final = "ahead"  # the flag that the edge gives
AHEAD_NS_MAX: Final = 5 * MINUTE_NS
"""What a clock that is set by hand may be off. More makes all others of its key late for as long."""
ZONE_NS: Final = 15 * MINUTE_NS  # offsets of all time zones are whole quarters of an hour
ZONE_NS_MAX: Final = 14 * 60 * MINUTE_NS
ZONE_SLACK_NS: Final = 2 * MINUTE_NS


def excess_ns(ahead_ns: int) -> int:
    """How much to take off the times of a source that is `ahead_ns` before the clock of its edge.

    A clock that shows local time instead of UTC is put right by its whole offset, which keeps the distances between its
    samples; any other counts where the edge took it.
    """
    if ahead_ns <= AHEAD_NS_MAX:
        return 0
    zone_ns = (ahead_ns + ZONE_NS // 2) // ZONE_NS * ZONE_NS
    if zone_ns <= ZONE_NS_MAX and abs(ahead_ns - zone_ns) <= ZONE_SLACK_NS:
        return zone_ns
    return ahead_ns
