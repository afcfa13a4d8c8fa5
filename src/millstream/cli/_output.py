"""What a command says and how: data on standard output, everything else on standard error, and the exit status."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import msgspec

from millstream.kernel import (
    AuthError,
    NotFoundError,
    PlantError,
    Unreachable,
    duration_text,
    printable,
    size_text,
)

if TYPE_CHECKING:
    from rich.console import Console

shown, duration, size = printable, duration_text, size_text  # as commands call them
OK, FAILED, USAGE, NOT_FOUND, DENIED, NO_LINK, CHECK_FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
_USAGE_CODES = {"MS-0580", "MS-0582", "MS-0680", "MS-2100"}
_WIDE = 4096  # columns when nobody looks: a table that goes into a file or a pipe is never cut


def exit_code(error: PlantError) -> int:
    """The exit status of an error."""
    if error.code in _USAGE_CODES:
        return USAGE
    if isinstance(error, NotFoundError):
        return NOT_FOUND
    if isinstance(error, AuthError):
        return DENIED
    return NO_LINK if isinstance(error, Unreachable) else FAILED


def json_text(value: Any) -> str:
    """One line of JSON. Numbers that JSON cannot say become null; bytes become base64."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def print_json(value: Any) -> None:
    """One value as one line on standard output, at once: a reader of a stream waits for it."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def print_text(text: str, *, at_once: bool = False) -> None:
    """One line of data on standard output; `at_once` where more of them come as time goes by, and a pipe reads them."""
    sys.stdout.write(text + "\n")
    if at_once:
        sys.stdout.flush()


def note(text: str) -> None:
    """One line for the person, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def console(stream: IO[str] | None = None) -> Console:
    """Rich on a stream; it honours NO_COLOR, and does not cut lines when the stream is no terminal."""
    from rich.console import Console

    target = stream or sys.stdout
    return Console(file=target, width=None if target.isatty() else _WIDE, highlight=False, soft_wrap=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """A plain table; `right` names the columns that are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(shown(cell)) for cell in row))
    console().print(table)


def report_error(error: PlantError, *, is_json: bool) -> int:
    """Print one error on standard error; returns the exit status."""
    if is_json:
        note(json_text({"error": error.as_dict()}))
        return exit_code(error)
    parts = [f"{error.where}: {error.what}" if error.where else error.what]
    if error.expected is not None:
        parts.append(f"expected {error.expected}")
    if error.got is not None:
        parts.append(f"got {error.got}")
    label = "\x1b[1;31merror\x1b[0m" if _colours(sys.stderr) else "error"
    note(f"{label}: {', '.join(parts)} [{error.code}]")
    tip = error.next_step or f"run `millstream explain {error.code}`"
    note(f"  tip: {tip}")
    return exit_code(error)


def _colours(stream: IO[str]) -> bool:
    import os

    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def report_usage(message: str, tip: str | None, *, is_json: bool) -> int:
    """A wrong command line: one line, one tip, status 2."""
    if is_json:
        note(json_text({"error": {"code": "usage", "message": message, "hint": tip}}))
        return USAGE
    note(f"error: {message}")
    if tip:
        note(f"  tip: {tip}")
    return USAGE


def flattened(raw: Mapping[str, Any], names: Sequence[str]) -> list[object]:
    """The named fields of a JSON object, None where it has none."""
    return [raw.get(name) for name in names]
