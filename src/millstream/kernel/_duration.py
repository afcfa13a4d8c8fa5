"""Durations as people write them in configuration: "500ms", "1s", "2.5min", "1h"."""

from __future__ import annotations

import re

from millstream.kernel._errors import ConfigError

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ns|us|ms|s|min|m|h|d)\s*$")


def parse_duration_s(text: str) -> float:
    """Seconds of a duration such as "250ms". Raises ConfigError with the accepted form."""
    match = _PATTERN.match(text)
    if match is None:
        raise ConfigError(
            "not a duration", expected='a number and a unit, e.g. "500ms", "1s", "5min"', got=repr(text), code="MS-0102"
        )
    return float(match.group(1)) * _UNITS_S[match.group(2)]


def format_duration(seconds: float) -> str:
    """The shortest readable form: 0.25 -> "250ms", 90 -> "90s", 7200 -> "2h"."""
    for unit, size_s in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size_s and seconds % size_s == 0:
            return f"{seconds / size_s:g}{unit}"
    if seconds >= 1 or seconds == 0:
        return f"{seconds:g}s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:g}ms"
    return f"{seconds * 1e6:g}us"
