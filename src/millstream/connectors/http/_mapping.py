"""From bodies to samples: which tags a body feeds, and what it says of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.connectors.http._config import HttpConfig, HttpTagOptions
from millstream.kernel import DecodeError
from millstream.model import (
    BAD_DATA_UNAVAILABLE,
    BAD_DECODING_ERROR,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    Sample,
    Value,
)
from millstream.protocols.http_rules import Resource, parse_resource
from millstream.protocols.mqtt_mapping import ABSENT, DataType, Payload, Step, parse_path, to_time_ns, to_value
from millstream.protocols.row_mapping import TimeRule
from millstream.sdk import Tag


@dataclass(frozen=True, slots=True)
class Reader:
    """One tag."""

    key: str
    resource: Resource
    data_type: DataType

    def read(self, payload: Payload, time_ns: int | None) -> Sample:
        """Its sample, bad when the body lacks it or has another type."""
        try:
            found = payload.at(self.resource.steps)
        except DecodeError:
            return Sample(self.key, None, BAD_DECODING_ERROR, time_ns)
        if found is ABSENT or found is None:
            return Sample(self.key, None, BAD_DATA_UNAVAILABLE, time_ns)
        value, quality = _typed(found, self.data_type)
        return Sample(self.key, value, quality, time_ns)


def make_readers(tags: Sequence[Tag]) -> list[Reader]:
    """The tags as they are read. Raises DecodeError."""
    return [
        Reader(tag.key, parse_resource(tag.address), HttpTagOptions.model_validate(dict(tag.options)).data_type)
        for tag in tags
    ]


def _typed(found: object, data_type: DataType) -> tuple[Value | None, Quality]:
    try:
        return to_value(found, data_type), GOOD
    except DecodeError:
        return None, BAD_TYPE_MISMATCH


class Clock:
    """Where a body has its time."""

    def __init__(self, config: HttpConfig) -> None:
        self._steps: tuple[Step, ...] | None = (
            parse_path(config.timestamp_path) if config.timestamp_path is not None else None
        )
        self._unit = config.timestamp_unit

    def read(self, payload: Payload) -> int | None:
        """UTC ns; None when none is configured or the body has none. Raises DecodeError when it is no time."""
        if self._steps is None:
            return None
        found = payload.at(self._steps)
        if found is ABSENT or found is None:
            return None
        if self._unit != "iso":
            return to_time_ns(found, self._unit)
        return TimeRule(("t",)).read({"t": found})
