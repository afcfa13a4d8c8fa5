"""What everything else stands on: errors, clocks, back-off, bounds. Standard library only."""

from millstream.kernel._backoff import Backoff
from millstream.kernel._beside import beside_one_another
from millstream.kernel._chance import Chance, seeded
from millstream.kernel._clock import Clock, SystemClock
from millstream.kernel._collector import calm_allocator, calm_collector
from millstream.kernel._duration import format_duration, parse_duration_s
from millstream.kernel._end_tasks import end_tasks
from millstream.kernel._errors import (
    AuthError,
    ConfigError,
    DecodeError,
    FencedError,
    NotFoundError,
    PlantError,
    ProtocolViolation,
    StoreFullError,
    Unreachable,
)
from millstream.kernel._extras import needs_extra
from millstream.kernel._lazy_names import lazy_names
from millstream.kernel._left_when import left_when
from millstream.kernel._ports import bind_port, free_port
from millstream.kernel._private_file import write_private
from millstream.kernel._registry import ErrorEntry, error_registry
from millstream.kernel._signal import Signal
from millstream.kernel._suggest import suggest
from millstream.kernel._words import duration_text, printable, size_text
from millstream.kernel._zip_names import leads_out

__all__ = [
    "AuthError",
    "Backoff",
    "Chance",
    "Clock",
    "ConfigError",
    "DecodeError",
    "ErrorEntry",
    "FencedError",
    "NotFoundError",
    "PlantError",
    "ProtocolViolation",
    "Signal",
    "StoreFullError",
    "SystemClock",
    "Unreachable",
    "beside_one_another",
    "bind_port",
    "calm_allocator",
    "calm_collector",
    "error_registry",
    "format_duration",
    "free_port",
    "lazy_names",
    "leads_out",
    "left_when",
    "needs_extra",
    "parse_duration_s",
    "seeded",
    "duration_text",
    "end_tasks",
    "printable",
    "size_text",
    "suggest",
    "write_private",
]
