"""How every command speaks: data on standard output, the rest on standard error, errors with their next step.

Exit status: 0 done; 1 failed; 2 usage; 3 not found; 4 refused; 5 unreachable; 6 a check failed; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from millstream.kernel import AuthError, ConfigError, NotFoundError, PlantError, Unreachable

EXIT_OK, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_CHECK = 0, 1, 3, 4, 5, 6


def exit_status(error: PlantError) -> int:
    """The exit status of an error class."""
    if isinstance(error, NotFoundError):
        return EXIT_NOT_FOUND
    if isinstance(error, AuthError):
        return EXIT_REFUSED
    if isinstance(error, Unreachable):
        return EXIT_UNREACHABLE
    return EXIT_CHECK if isinstance(error, ConfigError) else EXIT_FAILED


def print_error(error: PlantError, *, is_json: bool) -> int:
    """Tell an error on standard error; returns the exit status."""
    if is_json:
        sys.stderr.write(json.dumps({"error": error.as_dict()}) + "\n")
    else:
        sys.stderr.write(f"error: {error}\n")
    return exit_status(error)


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, default=str, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """One line of data."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """One line for people, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, title: str | None = None) -> None:
    """Rows as a table; without a terminal neither colour nor truncation."""
    is_terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if is_terminal else 10_000)
    table = Table(title=title, box=None, pad_edge=False, header_style="bold" if is_terminal else "")
    for name in columns:
        table.add_column(name, no_wrap=not is_terminal, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
