"""What the SDK gives out: readings of tags, decoded from messages of any payload form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from millstream.kernel import DecodeError
from millstream.model import BAD_DECODING_ERROR, GOOD, Quality, Value
from millstream.protocols.cloudevents import format_time
from millstream.protocols.uns_payload import ARROW_TYPE, BlockRecord, SampleRecord, decode_block, decode_sample


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one tag. `time_ns` is the source's UTC time (the ingest time when the source has no clock),
    `ingest_ns` when Millstream took it in. `value` is None only with a bad quality."""

    path: str
    value: Value | None
    quality: Quality = GOOD
    time_ns: int = 0
    unit: str | None = None
    ingest_ns: int = 0

    @property
    def time(self) -> datetime:
        """`time_ns` as an aware datetime, cut to microseconds."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.time_ns // 1000)

    def as_dict(self) -> dict[str, Any]:
        """The reading as the CLI prints it with --json."""
        return {
            "path": self.path,
            "value": self.value,
            "quality": self.quality.label,
            "quality_code": int(self.quality),
            "time": format_time(self.time_ns),
            "time_ns": self.time_ns,
            "unit": self.unit,
            "ingest_ns": self.ingest_ns,
        }


def readings_of(path: str, payload: bytes, headers: Mapping[str, str], *, unit: str | None = None) -> Iterator[Reading]:
    """The readings in one message, in source order. A payload that cannot be decoded is one bad reading: nobody who
    watches a plant should lose the other tags for it. `unit` is used where the message names none."""
    try:
        record = decode_block(payload) if headers.get("Content-Type") == ARROW_TYPE else decode_sample(payload)
    except DecodeError:
        yield Reading(path, None, BAD_DECODING_ERROR, 0, unit)
        return
    if isinstance(record, SampleRecord):
        yield Reading(
            path, record.value, Quality(record.quality), record.time_ns, record.unit or unit, record.ingest_ns
        )
        return
    for index in range(len(record)):
        yield block_reading(path, record, index, unit)


def block_reading(path: str, record: BlockRecord, index: int, unit: str | None = None) -> Reading:
    """One sample of a block; negative indices count from its end."""
    value: Any = record.values[index]
    if hasattr(value, "item"):
        value = value.item()
    quality = GOOD if record.quality is None else Quality(int(record.quality[index]))
    return Reading(path, value, quality, int(record.time_ns[index]), record.unit or unit, record.ingest_ns)


def last_reading(path: str, payload: bytes, headers: Mapping[str, str], *, unit: str | None = None) -> Reading:
    """The newest reading in one message."""
    if headers.get("Content-Type") == ARROW_TYPE:
        try:
            record = decode_block(payload)
        except DecodeError:
            return Reading(path, None, BAD_DECODING_ERROR, 0, unit)
        if len(record):
            return block_reading(path, record, -1, unit)
    return next(readings_of(path, payload, headers, unit=unit), Reading(path, None, BAD_DECODING_ERROR, 0, unit))
