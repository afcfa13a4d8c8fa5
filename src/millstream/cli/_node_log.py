"""A running node's log: one line an event on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable

from millstream.cli._output import json_text, shown
from millstream.kernel import Clock, SystemClock
from millstream.protocols.cloudevents import format_time


class NodeLog:
    """Time, level, event, fields; as text or as JSON. It is `sdk.Log`, and `line` takes finished lines."""

    def __init__(self, name: str, *, is_json: bool = False, write: Callable[[str], object] | None = None) -> None:
        self._name = name
        self._is_json = is_json
        self._write = write or sys.stderr.write
        self._clock: Clock = SystemClock()

    def info(self, event: str, **fields: object) -> None:
        """A change of state worth one line."""
        self._event("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something degraded; work goes on."""
        self._event("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something stopped; a person may have to act."""
        self._event("error", event, fields)

    def _event(self, level: str, event: str, fields: dict[str, object]) -> None:
        if self._is_json:
            self._put({"level": level, "node": self._name, "event": event, **fields})
            return
        text = " ".join(f"{key}={shown(value)}" for key, value in fields.items())
        self.line(level, f"{self._name}: {event} {text}".rstrip())

    def line(self, level: str, text: str) -> None:
        """A finished line, as the edge writes them."""
        if self._is_json:
            self._put({"level": level, "event": text})
            return
        self._write(f"{self._time()} {level:<7} {shown(text)}\n")
        sys.stderr.flush()

    def _put(self, fields: dict[str, object]) -> None:
        self._write(json_text({"time": self._time(), **fields}) + "\n")
        sys.stderr.flush()

    def _time(self) -> str:
        return format_time(self._clock.now_ns() // 1_000_000 * 1_000_000)
