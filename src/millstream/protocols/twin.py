"""The twin of an asset as it is stored: an event with all of it."""

from __future__ import annotations

TWIN_TYPE = "millstream.twin"
"""Its CloudEvents type."""
