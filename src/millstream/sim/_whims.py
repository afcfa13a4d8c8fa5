"""Whims of simulated devices: a clock that is wrong and drifts, values that stand still while the device answers."""

from __future__ import annotations

import argparse
import time

from millstream.kernel import ConfigError, parse_duration_s


def seconds(text: str) -> float:
    """A duration such as 30s or 200ms, with a sign if need be, for argparse."""
    try:
        return -parse_duration_s(text[1:]) if text.startswith("-") else parse_duration_s(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(f"{error.what}: {error.got}, expected {error.expected}") from error


def add_clock(parser: argparse.ArgumentParser) -> None:
    """The options of a device that has a clock."""
    parser.add_argument(
        "--clock-offset", type=seconds, default=0.0, help="its clock is so much ahead, e.g. 5s or -2min"
    )
    parser.add_argument("--clock-drift", type=float, default=0.0, help="and gains so many parts per million")


def add_freeze(parser: argparse.ArgumentParser) -> None:
    """The option of a device whose values may stand still."""
    parser.add_argument("--freeze-after", type=seconds, help="its values stand still after this time, e.g. 30s")


def add_tags(parser: argparse.ArgumentParser, what: str, most: int) -> None:
    """The option of a device that can have thousands of tags more; `what` they are."""

    def count(text: str) -> int:
        """A number of them, for argparse."""
        if not text.isdecimal() or int(text[:9]) > most:
            raise argparse.ArgumentTypeError(f"{text}, expected 0 to {most}")
        return int(text)

    parser.add_argument("--tags", type=count, default=0, help=f"so many {what} more, at most {most}")


class DeviceClock:
    """The device's own idea of the time."""

    def __init__(self, offset_s: float = 0.0, drift_ppm: float = 0.0) -> None:
        self._offset_ns = int(offset_s * 1e9)
        self._drift = drift_ppm * 1e-6
        self._start_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """UTC, nanoseconds since 1970, as the device believes."""
        gained_ns = int((time.monotonic_ns() - self._start_ns) * self._drift)
        return time.time_ns() + self._offset_ns + gained_ns


class Freeze:
    """Whether the values stand still by now."""

    def __init__(self, after_s: float | None = None) -> None:
        self._after_s = after_s
        self._start_s = time.monotonic()

    @property
    def is_on(self) -> bool:
        """From `after_s` on; never when that is None."""
        return self._after_s is not None and time.monotonic() - self._start_s >= self._after_s
