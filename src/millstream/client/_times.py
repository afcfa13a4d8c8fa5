"""Times and spans as people write them, to nanoseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from millstream.kernel import ConfigError, DecodeError, PlantError, parse_duration_s
from millstream.protocols.cloudevents import parse_time_ns

Time: TypeAlias = "datetime | int | str"
"""UTC: a datetime (without a zone it is UTC), nanoseconds since 1970, RFC 3339 text, "now", or back from now: "-1h"."""

Span: TypeAlias = "timedelta | float | str"
"""A timedelta, seconds, or text such as "10s", "5min"."""


def to_time_ns(value: Time, now_ns: int) -> int:
    """UTC nanoseconds. Raises PlantError MS-0582 that shows the accepted forms."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    if isinstance(value, int):
        return value
    text = value.strip()
    if text == "now":
        return now_ns
    try:
        if text.startswith("-"):
            return now_ns - round(parse_duration_s(text[1:]) * 1e9)
        if text.isdigit() and len(text) > 12:
            return int(text)
        return _absolute_ns(text)
    except (ConfigError, DecodeError, ValueError) as error:
        raise PlantError(
            "not a time",
            expected='"2026-01-31T06:00:00Z", "2026-01-31", "now" or "-15min"',
            got=repr(value),
            code="MS-0582",
        ) from error


def _absolute_ns(text: str) -> int:
    try:
        return parse_time_ns(text)
    except DecodeError:
        moment = datetime.fromisoformat(text)
        return to_time_ns(moment, 0)


def to_span_ns(value: Span) -> int:
    """Nanoseconds, above zero. Raises PlantError MS-0582."""
    try:
        if isinstance(value, timedelta):
            span_ns = value // timedelta(microseconds=1) * 1000
        else:
            span_ns = round((parse_duration_s(value) if isinstance(value, str) else value) * 1e9)
    except ConfigError as error:
        raise PlantError("not a span of time", expected=error.expected, got=repr(value), code="MS-0582") from error
    if span_ns <= 0:
        raise PlantError("a span of time is above zero", got=repr(value), code="MS-0582")
    return span_ns
