"""What a full stream may forget. Pure."""

from __future__ import annotations

from millstream.bus._streams import StreamInfo

TRIM_ABOVE_RATIO, TRIM_TO_RATIO = 0.7, 0.5  # of a bound; what is left serves a hub that loses its newest data
ROOM_BYTES = 32 << 20  # two of the largest atomic batches must always fit, else a small stream blocks for ever


def trim_below(info: StreamInfo, cursor_seq: int) -> int | None:
    """The sequence below which a nearly full `block` stream may be purged, None when it need not or must not: only what
    the hub has, and only down to half of the bound, so that a hub which loses its newest data finds it here."""
    max_bytes = int(info.config.get("max_bytes", -1))
    above = max(TRIM_TO_RATIO * max_bytes / 2, min(TRIM_ABOVE_RATIO * max_bytes, max_bytes - ROOM_BYTES))
    if info.config.get("discard") != "new" or max_bytes <= 0 or info.bytes < above:
        return None
    excess = info.bytes - above * TRIM_TO_RATIO / TRIM_ABOVE_RATIO
    by_size = info.first_seq + int(info.messages * excess / info.bytes)
    seq = min(by_size, cursor_seq + 1)
    return seq if seq > info.first_seq else None
