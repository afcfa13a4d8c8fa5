"""Status flags, reliabilities and error codes of BACnet (ASHRAE 135-2020, clauses 12, 18 and 21) as qualities."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.model import (
    BAD,
    BAD_DATA_UNAVAILABLE,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_READABLE,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
)

BAD_NOT_WRITABLE = Quality(0x803B0000)
BAD_CONFIGURATION_ERROR = Quality(0x80890000)
BAD_DEVICE_FAILURE = Quality(0x808B0000)
BAD_SENSOR_FAILURE = Quality(0x808C0000)
GOOD_LOCAL_OVERRIDE = Quality(0x00960000)
UNCERTAIN_SUBSTITUTE_VALUE = Quality(0x40910000)
FAULT, OVERRIDDEN, OUT_OF_SERVICE = 1, 2, 3  # bits of the status flags; bit 0, in alarm, says nothing about the value

_RELIABILITIES = {
    1: BAD_SENSOR_FAILURE,  # no sensor
    2: BAD_OUT_OF_RANGE,
    3: BAD_OUT_OF_RANGE,
    4: BAD_SENSOR_FAILURE,  # open loop
    5: BAD_SENSOR_FAILURE,  # shorted loop
    6: BAD_SENSOR_FAILURE,  # no output
    10: BAD_CONFIGURATION_ERROR,
    12: BAD_NO_COMMUNICATION,
    25: BAD_OUT_OF_RANGE,  # multi-state out of range
}
_ERRORS: dict[int, tuple[Quality, str]] = {
    2: (BAD_CONFIGURATION_ERROR, "configuration in progress"),
    3: (BAD_DATA_UNAVAILABLE, "device busy"),
    9: (BAD_TYPE_MISMATCH, "invalid data type"),
    25: (BAD_DATA_UNAVAILABLE, "operational problem"),
    27: (BAD_NOT_READABLE, "read access denied"),
    31: (BAD_NODE_ID_UNKNOWN, "unknown object"),
    32: (BAD_NODE_ID_UNKNOWN, "unknown property"),
    37: (BAD_OUT_OF_RANGE, "value out of range"),
    40: (BAD_NOT_WRITABLE, "write access denied"),
    42: (BAD_NODE_ID_UNKNOWN, "invalid array index"),
    47: (BAD_TYPE_MISMATCH, "data type not supported"),
    50: (BAD_NODE_ID_UNKNOWN, "property is not an array"),
}


def value_quality(flags: Sequence[bool] | None, reliability: int | None = None) -> Quality:
    """What the device says about a value. A fault decides, then out of service, then overridden; no flags are good."""
    if flags is None or len(flags) < 4:
        return GOOD
    if flags[FAULT]:
        return _RELIABILITIES.get(reliability or 0, BAD_DEVICE_FAILURE)
    if flags[OUT_OF_SERVICE]:
        return UNCERTAIN_SUBSTITUTE_VALUE
    return GOOD_LOCAL_OVERRIDE if flags[OVERRIDDEN] else GOOD


def error_quality(code: int) -> tuple[Quality, str]:
    """Quality and words for an error code."""
    return _ERRORS.get(code, (BAD, f"error code {code}"))
