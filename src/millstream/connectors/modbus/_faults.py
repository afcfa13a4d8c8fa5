"""Modbus exception codes (MODBUS Application Protocol 1.1b3, clause 7) as qualities."""

from __future__ import annotations

from millstream.model import (
    BAD,
    BAD_DATA_UNAVAILABLE,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_READABLE,
    BAD_OUT_OF_RANGE,
    Quality,
)

BAD_NOT_WRITABLE = Quality(0x803B0000)
BAD_DEVICE_FAILURE = Quality(0x808B0000)
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
SPLITTING = (ILLEGAL_ADDRESS, ILLEGAL_VALUE)  # a part of the block may be fine, or a shorter block

_FAULTS: dict[int, tuple[Quality, str]] = {
    ILLEGAL_FUNCTION: (BAD_NOT_READABLE, "illegal function"),
    ILLEGAL_ADDRESS: (BAD_NODE_ID_UNKNOWN, "illegal data address"),
    ILLEGAL_VALUE: (BAD_OUT_OF_RANGE, "illegal data value"),
    4: (BAD_DEVICE_FAILURE, "server device failure"),
    5: (BAD_DATA_UNAVAILABLE, "acknowledge, not yet done"),
    6: (BAD_DATA_UNAVAILABLE, "server device busy"),
    7: (BAD_DEVICE_FAILURE, "negative acknowledge"),
    8: (BAD_DEVICE_FAILURE, "memory parity error"),
    10: (BAD_NO_COMMUNICATION, "gateway path unavailable"),
    11: (BAD_NO_COMMUNICATION, "gateway target device failed to respond"),
}


def fault(code: int, *, is_write: bool = False) -> tuple[Quality, str]:
    """Quality and words for an exception code."""
    quality, words = _FAULTS.get(code, (BAD, "unknown exception"))
    if is_write and code == ILLEGAL_FUNCTION:
        quality = BAD_NOT_WRITABLE
    return quality, f"exception {code}: {words}"
