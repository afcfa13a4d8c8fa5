"""The words of the field as data: asset paths, tags, samples, blocks, quality. Frozen and pure."""

from millstream.model._event import Event, EventKind
from millstream.model._path import AssetPath, TagPath
from millstream.model._quality import (
    BAD,
    BAD_COMMUNICATION_ERROR,
    BAD_DATA_LOST,
    BAD_DATA_UNAVAILABLE,
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_READABLE,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    UNCERTAIN,
    UNCERTAIN_INITIAL_VALUE,
    UNCERTAIN_LAST_USABLE_VALUE,
    Quality,
)
from millstream.model._sample import Block, Sample, Value

__all__ = [
    "BAD",
    "BAD_COMMUNICATION_ERROR",
    "BAD_DATA_LOST",
    "BAD_DATA_UNAVAILABLE",
    "BAD_DECODING_ERROR",
    "BAD_NODE_ID_UNKNOWN",
    "BAD_NOT_READABLE",
    "BAD_NO_COMMUNICATION",
    "BAD_OUT_OF_RANGE",
    "BAD_TYPE_MISMATCH",
    "BAD_WAITING_FOR_INITIAL_DATA",
    "GOOD",
    "UNCERTAIN",
    "UNCERTAIN_INITIAL_VALUE",
    "UNCERTAIN_LAST_USABLE_VALUE",
    "AssetPath",
    "Block",
    "Event",
    "EventKind",
    "Quality",
    "Sample",
    "TagPath",
    "Value",
]
