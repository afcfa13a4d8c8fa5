"""Lists that may not be whole: what the streams hold no more, and the history could not be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream.cli._output import note, print_json

if TYPE_CHECKING:
    from millstream.client import Listed


def print_listed(found: Listed) -> None:
    """One object a line, each with the doubt, if there is one; it is noted, too, for a list without a row."""
    note_doubt(found)
    for row in found.rows:
        print_json({**row, "doubt": found.doubt} if found.doubt else row)


def note_doubt(found: Listed) -> None:
    """Say that something may be missing, and why."""
    if found.doubt:
        note(f"not sure, what came earlier may be missing: {found.doubt}")
