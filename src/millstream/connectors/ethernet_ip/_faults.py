"""CIP general status codes (volume 1, appendix B) as qualities, and refused connections as errors."""

from __future__ import annotations

from millstream.kernel import NotFoundError, Unreachable
from millstream.model import (
    BAD,
    BAD_DATA_UNAVAILABLE,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_READABLE,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    Quality,
)

BAD_NOT_WRITABLE = Quality(0x803B0000)
CONNECTION_FAILURE, CONNECTION_LOST = 0x01, 0x07
PARTIAL, SERVICE_UNSUPPORTED, EMBEDDED_ERROR = 0x06, 0x08, 0x1E
NEXT_STEP = "check cable, address and port"

_STATUSES: dict[int, tuple[Quality, str]] = {
    0x02: (BAD_DATA_UNAVAILABLE, "resource unavailable"),
    0x03: (BAD_OUT_OF_RANGE, "invalid parameter value"),
    0x04: (BAD_NODE_ID_UNKNOWN, "path segment error: no tag of this name"),
    0x05: (BAD_NODE_ID_UNKNOWN, "path destination unknown: no tag of this name"),
    0x08: (BAD_NOT_READABLE, "service not supported"),
    0x09: (BAD_OUT_OF_RANGE, "invalid attribute value"),
    0x0C: (BAD_DATA_UNAVAILABLE, "object state conflict"),
    0x0E: (BAD_NOT_WRITABLE, "attribute not settable"),
    0x0F: (BAD_NOT_READABLE, "privilege violation"),
    0x10: (BAD_DATA_UNAVAILABLE, "device state conflict, e.g. the key is in RUN"),
    0x11: (BAD_DATA_UNAVAILABLE, "reply data too large"),
    0x13: (BAD_TYPE_MISMATCH, "not enough data for the tag's type"),
    0x15: (BAD_TYPE_MISMATCH, "too much data for the tag's type"),
    0x16: (BAD_NODE_ID_UNKNOWN, "object does not exist"),
    0x26: (BAD_NODE_ID_UNKNOWN, "path size invalid"),
    0xFF: (BAD_OUT_OF_RANGE, "beyond the end of the array, or not the tag's type"),
}
# Extended statuses of a refused Forward Open, volume 1, 3-5.6
_REFUSALS = {
    0x0100: "the connection is in use already",
    0x0113: "it has no connection left",
    0x0203: "the connection timed out",
    0x0204: "the module at the end of the route does not answer",
    0x0311: "there is no such port on the route",
    0x0312: "there is no such link on the route: wrong slot or address",
    0x0315: "the route has a segment that it does not know",
    0x0318: "the route leads back to where it came from",
}


def fault(status: int, *, is_write: bool = False) -> tuple[Quality, str]:
    """Quality and words for a general status."""
    quality, words = _STATUSES.get(status, (BAD, "unknown status"))
    if is_write and status in (0x08, 0x0F):
        quality = BAD_NOT_WRITABLE
    return quality, f"status 0x{status:02X}: {words}"


def refused(where: str, route: str, status: int, extended: int | None) -> Unreachable:
    """A device that answers, but opens no connection to what stands behind `route`."""
    words = "it gives no reason" if extended is None else _REFUSALS.get(extended, f"reason 0x{extended:04X}")
    return Unreachable(
        f"device refuses a connection over route {route or '(none)'}: status 0x{status:02X}, {words}",
        where=where,
        next_step="check `slot` or `route`, and how many clients the controller takes",
        code="MS-1302",
    )


class MessageRefused(Unreachable):
    """The device answers a message with a refusal below CIP, which ends the connection."""


def no_tag_list(where: str, reason: str) -> NotFoundError:
    """A device that answers reads by name, but does not tell which names there are."""
    return NotFoundError(
        f"device does not list its tags: {reason}",
        where=where,
        next_step="take the names from the controller's project; reading them works all the same",
        code="MS-1305",
    )
