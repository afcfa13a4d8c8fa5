"""Structured log lines: an event in lower case, then its fields."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

Sink = Callable[[str, str], None]
"""Takes a level ("info", "warning", "error") and a line."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_logger = logging.getLogger("millstream.edge")


def to_logging(level: str, line: str) -> None:
    """The default sink: the standard library's logging, logger ``millstream.edge``."""
    _logger.log(_LEVELS[level], line)


class LineLog:
    """`Log` of one connector or of the node itself."""

    def __init__(self, name: str, sink: Sink = to_logging) -> None:
        self._name = name
        self._sink = sink

    def info(self, event: str, **fields: object) -> None:
        """A change of state worth one line."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something degraded; work goes on."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something stopped; a person may have to act."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        text = " ".join(f"{key}={_text(value)}" for key, value in fields.items())
        self._sink(level, f"{self._name}: {event} {text}".rstrip())


def _text(value: object) -> str:
    text = str(value)
    return text if text and " " not in text and "\n" not in text else json.dumps(text, ensure_ascii=False)
